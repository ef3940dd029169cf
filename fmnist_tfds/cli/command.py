"""One command, as its room declares it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command of fmnist-tfds: a value of its room's `COMMANDS`, which `main` collects.

    Attributes:
        name: the word behind fmnist-tfds.
        run: what runs; returns the exit code.
        add_flags: adds the command's arguments and flags to its parser.
        help: one line on what it does.
        example: the arguments of an example.
        synonyms: the words that people type who know other programs.
    """

    name: str
    run: Callable[[argparse.Namespace], int]
    add_flags: Callable[[argparse.ArgumentParser], None]
    help: str
    example: str = ""
    synonyms: tuple[str, ...] = ()
