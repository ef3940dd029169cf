"""fmnist-tfds: parses, runs one command of `cli_commands`, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fmnist_tfds import errors
from fmnist_tfds.cli import commands as cli_commands
from fmnist_tfds.cli import output
from fmnist_tfds.config import schema


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
            command, name = args.parser, unknown[0].partition("=")[0]
            if not name.startswith("-"):
                command.error(f"unknown argument {name}")
            raise errors.ConfigError(
                f"{command.prog}: unknown argument {name}",
                hint="the nearest valid one is "
                + schema.nearest(name, command._option_string_actions),
            )
        args.rest = unknown
        return args


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code (console script)."""
    with _failures_of_files():
        code = run(sys.argv[1:] if argv is None else argv)
        print(end="", flush=True)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    parser = _parser()
    verbosity = 0
    as_json = "--json" in argv
    try:
        if argv and argv[0].startswith("-") and argv[0] not in ("-h", "--help"):
            raise errors.ConfigError(
                f"fmnist-tfds: expected a command, got {argv[0].partition('=')[0]}",
                hint="flags stand behind the command: fmnist-tfds COMMAND [--flag]; "
                "`fmnist-tfds --help` lists the commands",
            )
        if argv and not argv[0].startswith("-") and argv[0] not in cli_commands.COMMANDS:
            raise errors.ConfigError(
                f"fmnist-tfds: there is no command {argv[0]!r}",
                hint=f"the nearest one is {schema.nearest(argv[0], cli_commands.COMMANDS)!r}",
            )
        args = parser.parse_strictly(argv)
        if not hasattr(args, "run"):
            parser.print_help()
            return 0
        verbosity = args.verbosity
        output.set_up_logging(verbosity)
        return int(args.run(args))
    except errors.FmnistError as error:
        if verbosity >= 1:
            output.print_traceback(error)
        output.print_error(error, as_json=as_json)
        return output.exit_code(error)
    except OSError as error:
        if verbosity >= 1:
            output.print_traceback(error)
        if error.filename is None:  # stdout itself: see main
            raise
        output.print_error(errors.FmnistError(str(error)), as_json=as_json)
        return 1
    except KeyboardInterrupt:
        output.print_line("interrupted")
        return 130
    except SystemExit as stop:  # argparse after --help
        return int(stop.code or 0)


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
def _failures_of_files() -> Iterator[None]:
    """A closed pipe ends the program quietly, a full disk with one message."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            output.print_error(errors.FmnistError(str(error)), as_json=False)
        # Python flushes stdout once more at exit; give it somewhere to go.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141 if isinstance(error, BrokenPipeError) else 1)


if __name__ == "__main__":
    main()
