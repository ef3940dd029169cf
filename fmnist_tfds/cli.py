"""fmnist-tfds: parses, runs one command of `cli_commands`, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fmnist_tfds import cli_commands, cli_output, errors, toml_file

_EXIT_CODES: tuple[tuple[type[errors.FmnistError], int], ...] = (
    (errors.ConfigError, 2),
    (errors.ArgumentError, 2),
    (errors.ObtainError, 3),
    (errors.StoreError, 3),
    (errors.ContentError, 4),
)


class _Parser(argparse.ArgumentParser):
    """argparse with the nearest valid word in its complaint, and TFDS's --a_flag spelling."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise errors.ConfigError(
            f"{self.prog}: {message}", hint=f"`{self.prog} --help` shows what it takes"
        )

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """parse_args, but an unknown flag is answered with the nearest one of its command."""
        args, unknown = self.parse_known_args(argv)
        if unknown and not getattr(args, "takes_rest", False):
            flags = args.parser._option_string_actions
            name = unknown[0].partition("=")[0]
            raise errors.ConfigError(
                f"{args.parser.prog}: unknown argument {name}",
                hint=f"the nearest valid one is {toml_file.nearest(name, flags)}",
            )
        args.rest = unknown
        return args


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code (console script)."""
    with _broken_pipe_is_quiet():
        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    parser = _parser()
    verbosity = 0
    as_json = "--json" in argv
    try:
        if argv and not argv[0].startswith("-") and argv[0] not in cli_commands.COMMANDS:
            raise errors.ConfigError(
                f"fmnist-tfds: there is no command {argv[0]!r}",
                hint=f"the nearest one is {toml_file.nearest(argv[0], cli_commands.COMMANDS)!r}",
            )
        args = parser.parse_strictly(argv)
        if not hasattr(args, "run"):
            parser.print_help()
            return 0
        verbosity = args.verbosity
        cli_output.set_up_logging(verbosity)
        return int(args.run(args))
    except errors.FmnistError as error:
        if verbosity >= 1:
            cli_output.print_traceback(error)
        cli_output.print_error(error, as_json=as_json)
        return exit_code(error)
    except KeyboardInterrupt:
        cli_output.print_line("interrupted")
        return 130
    except SystemExit as stop:  # argparse after --help
        return int(stop.code or 0)


def exit_code(error: errors.FmnistError) -> int:
    """The process's exit code for an error: see the README."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def _parser() -> _Parser:
    lines = "\n".join(f"  {name:12} {entry.help}" for name, entry in cli_commands.COMMANDS.items())
    parser = _Parser(
        prog="fmnist-tfds",
        usage="fmnist-tfds COMMAND [--flag]",
        description=f"A Fashion-MNIST that always arrives.\n\ncommands:\n{lines}",
        epilog="`fmnist-tfds COMMAND --help` shows flags and an example. Exit codes: 0 done; "
        "2 usage or\nconfiguration; 3 not obtained; 4 not Fashion-MNIST; 1 anything else.",
    )
    commands = parser.add_subparsers(prog="fmnist-tfds", metavar="COMMAND", help=argparse.SUPPRESS)
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, command in cli_commands.COMMANDS.items():
        sub = commands.add_parser(
            name,
            description=command.help,
            epilog=f"example:\n  fmnist-tfds {name} {command.example}".rstrip(),
        )
        command.add_flags(sub)
        sub.add_argument(
            "--verbosity",
            type=int,
            default=0,
            metavar="N",
            help="1 adds details and tracebacks, -1 leaves only results and errors",
        )
        sub.set_defaults(run=command.run, parser=sub, parsers=parsers)
        parsers[name] = sub
    return parser


@contextlib.contextmanager
def _broken_pipe_is_quiet() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
