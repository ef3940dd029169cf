"""fmnist-tfds: parses, runs one command of the rooms, turns errors into exit codes."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fmnist_tfds import errors, processes, version
from fmnist_tfds.cli import (
    any_dataset,
    build,
    completion,
    doctor,
    exchange,
    files,
    output,
    training,
)

# Each room declares its commands; `--help` lists them in this order.
_ROOMS = (files, build, exchange, any_dataset, doctor, training, completion)
COMMANDS = {command.name: command for room in _ROOMS for command in room.COMMANDS}


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
                if "--out" in command._option_string_actions:
                    raise errors.ConfigError(
                        f"{command.prog}: unknown argument {name}",
                        hint="a folder is named by its flag: --out=FOLDER",
                    )
                command.error(f"unknown argument {name}")
            close = difflib.get_close_matches(name, command._option_string_actions, 1, 0.6)
            raise errors.ConfigError(
                f"{command.prog}: unknown argument {name}",
                hint=f"the nearest valid one is {close[0]}"
                if close
                else f"`{command.prog} --help` shows what it takes",
            )
        args.rest = unknown
        return args


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code (console script)."""
    try:
        processes.end_by_exceptions()
        with _failures_of_files():
            code = run(sys.argv[1:] if argv is None else argv)
            print(end="", flush=True)
    except KeyboardInterrupt as stop:  # outside of the command: before it, or after
        code = _interrupted(stop)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    _print_whatever_comes()
    parser = _parser()
    verbosity = 0
    as_json = "--json" in argv
    try:
        argv = _as_meant(argv)
        if argv[:1] == ["--version"]:
            print(f"fmnist-tfds {version.VERSION}")
            return 0
        if argv and argv[0].startswith("-") and argv[0] not in ("-h", "--help"):
            raise errors.ConfigError(
                f"fmnist-tfds: expected a command, got {argv[0].partition('=')[0]}",
                hint="flags stand behind the command: fmnist-tfds COMMAND [--flag]; "
                "`fmnist-tfds --help` lists the commands",
            )
        if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
            raise errors.ConfigError(
                f"fmnist-tfds: there is no command {argv[0]!r}", hint=_meant(argv[0])
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
    except KeyboardInterrupt as stop:
        return _interrupted(stop)
    except SystemExit as stop:  # argparse after --help
        return int(stop.code or 0)


def _interrupted(stop: KeyboardInterrupt) -> int:
    is_terminated = isinstance(stop, processes.Terminated)
    output.print_line("terminated" if is_terminated else "interrupted")
    return 143 if is_terminated else 130


def _print_whatever_comes() -> None:
    """A path that a stream cannot encode is shown with escapes: the work is done by then."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _as_meant(argv: Sequence[str]) -> list[str]:
    """`help COMMAND` and `version` as flags; hyphens in flags as the underscores that they are."""
    words = list(argv)
    if words[:1] == ["help"]:
        return [*words[1:2], "--help"]
    if words[:1] in (["version"], ["-V"]):
        return ["--version"]
    found: list[str] = []
    for number, word in enumerate(words):
        name, mark, value = word.partition("=")
        if word == "--":
            return found + words[number:]
        is_flag = name.startswith("--") and "-" in name[2:]
        found.append(f"--{name[2:].replace('-', '_')}{mark}{value}" if is_flag else word)
    return found


def _meant(word: str) -> str:
    """The hint for a word that is no command."""
    word = word.lower()
    known = [name for name, command in COMMANDS.items() if word in command.synonyms]
    nearest = known or difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.6)
    if nearest:
        return f"the nearest one is {nearest[0]!r}"
    return "`fmnist-tfds --help` lists the commands"


def _parser() -> _Parser:
    lines = "\n".join(f"  {name:12} {command.help}" for name, command in COMMANDS.items())
    parser = _Parser(
        prog="fmnist-tfds",
        usage="fmnist-tfds COMMAND [--flag]",
        description=f"A Fashion-MNIST that always arrives.\n\ncommands:\n{lines}",
        epilog="`fmnist-tfds COMMAND --help` shows flags and an example. Exit codes: 0 done; "
        "2 usage or\nconfiguration; 3 not obtained; 4 not Fashion-MNIST; 1 anything else.",
    )
    commands = parser.add_subparsers(prog="fmnist-tfds", metavar="COMMAND", help=argparse.SUPPRESS)
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
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


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, by name: what the reference is written from."""
    found: dict[str, argparse.ArgumentParser] = _parser().parse_args(["config"]).parsers
    return found


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
