"""The command completion: a script for bash or zsh, made from the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from fmnist_tfds.cli import command

SHELLS = ("bash", "zsh")

_SCRIPT = """\
# {shell} completion of fmnist-tfds. To use it:  source <(fmnist-tfds completion {shell})
{prelude}_fmnist_tfds() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  elif [ "${{word#-}}" != "$word" ]; then
    case "${{COMP_WORDS[1]}}" in
{flags}
    esac
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case "${{COMP_WORDS[1]}}" in
{choices}
    esac
  fi
  if [ -z "$words" ]; then
    while IFS= read -r found; do COMPREPLY+=("$found"); done < <(compgen -f -- "$word")
    return
  fi
  while IFS= read -r found; do COMPREPLY+=("$found"); done < <(compgen -W "$words" -- "$word")
}}
complete -o filenames -F _fmnist_tfds fmnist-tfds
"""

_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
autoload -Uz bashcompinit && bashcompinit
"""


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script to source.

    Args:
        shell: one of SHELLS.
        parsers: the parser of each command.
    """
    return _SCRIPT.format(
        shell=shell,
        prelude=_ZSH if shell == "zsh" else "",
        commands=" ".join(parsers),
        flags=_cases({name: _flags(parser) for name, parser in parsers.items()}),
        choices=_cases({name: _choices(parser) for name, parser in parsers.items()}),
    )


def _cases(words: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(
        f'      {command}) words="{" ".join(those)}" ;;'
        for command, those in words.items()
        if those
    )


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [
        flag
        for action in parser._actions
        for flag in action.option_strings
        if flag.startswith("--")
    ]


def _choices(parser: argparse.ArgumentParser) -> Sequence[str]:
    """What the first argument may be, where that is one of a few words: `plant keras`."""
    first = next((a for a in parser._actions if not a.option_strings), None)
    return tuple(first.choices or ()) if first else ()


def _completion(args: argparse.Namespace) -> int:
    print(script(args.shell, args.parsers), end="")
    return 0


def _completion_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="bash|zsh", help="source its output")


COMMANDS = (
    command.Command(
        name="completion",
        run=_completion,
        add_flags=_completion_flags,
        help="print a script that completes commands and flags",
        example="bash",
    ),
)
