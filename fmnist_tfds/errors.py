"""The exception tree: what failed, what was expected and found, what to do.

Imports nothing of ours.
FmnistError
├── ConfigError         a setting, a TOML key or a command-line flag is wrong
├── ArgumentError       an argument of a Python call is wrong (also a ValueError)
├── ObtainError         no source delivered the four files
├── StoreError          the cache or an output folder cannot be read or written
├── ContentError        the bytes are not Fashion-MNIST
│   ├── IdxError        not a well-formed IDX file of the promised shape (also a ValueError)
│   └── ArchiveError    an archive is refused: traversal, link, bomb, pickle, duplicate
├── NotPreparedError    data_dir holds no prepared data set
├── RecordError         a prepared shard is damaged
└── MissingExtraError   an optional dependency is not installed (also an ImportError)

The kind of an error decides what the caller does, never its text.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

# A command to type, which stays as it is; or a flag that stands alone.
_FLAGS = re.compile(r"(`[^`]*`|\b(?:fmnist-tfds|tfds|pip) [^;,]*)|--([a-z_]+)")


class FmnistError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        reference: stable kebab-case name of the kind; documented page by page.
        message: what failed, on which object, expected and found; may span lines.
        hint: what the user can do, or ""; in the words of the command line.
        arguments: how a flag is spelled where Python called, if not as an argument of its name.
    """

    reference = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.arguments: Mapping[str, str] = {}

    def __str__(self) -> str:
        """The message, and the hint in Python's words: arguments instead of flags."""
        if not self.hint:
            return self.message

        def spelled(found: re.Match[str]) -> str:
            return found[1] or self.arguments.get(found[2], found[2])

        return f"{self.message}\nhint: {_FLAGS.sub(spelled, self.hint)}"


class ConfigError(FmnistError):
    """A setting, a TOML key or a command-line flag is wrong."""

    reference = "config"


class ArgumentError(FmnistError, ValueError):
    """An argument of a Python call is wrong."""

    reference = "argument"


class ObtainError(FmnistError):
    """No source delivered the files; the message lists every source with its cause."""

    reference = "obtain"


class StoreError(FmnistError):
    """The cache or an output folder cannot be read or written."""

    reference = "store"


def unwritable(folder: pathlib.Path, error: OSError) -> StoreError:
    """The error for an output folder that cannot be written."""
    return StoreError(
        f"{folder}: cannot be written: {error.strerror or error}",
        hint="free space or rights there, or choose another folder for --out",
    )


class ContentError(FmnistError):
    """The bytes are not Fashion-MNIST."""

    reference = "content"


class IdxError(ContentError, ValueError):
    """Not a well-formed IDX file of the promised shape."""

    reference = "idx"


class ArchiveError(ContentError):
    """An archive is refused: path traversal, link, device, bomb, pickle, duplicate name."""

    reference = "archive"


class NotPreparedError(FmnistError):
    """data_dir holds no prepared data set."""

    reference = "not-prepared"


class RecordError(FmnistError):
    """A prepared shard is damaged."""

    reference = "record"


class MissingExtraError(FmnistError, ImportError):
    """An optional dependency is not installed."""

    reference = "missing-extra"
