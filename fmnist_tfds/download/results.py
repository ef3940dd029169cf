"""What obtaining came to: per file and in all, and the JSON document that says it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from fmnist_tfds import errors
from fmnist_tfds.download.policy import downloader


@dataclasses.dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file.

    Attributes:
        path: the verified file, or None.
        sha256: digest of that file, or None.
        source: masked URL, folder, "cache", or None.
        attempts: all that was tried, failed or not.
    """

    path: pathlib.Path | None
    sha256: str | None
    source: str | None
    attempts: tuple[downloader.Attempt, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all four.

    Attributes:
        files: by canonical name, all four.
        seconds: how long it took.
        receipt: where they came from; the content of receipt.json.
        error: why one is missing, or None.
    """

    files: Mapping[str, FileOutcome]
    seconds: float
    receipt: dict[str, Any]
    error: errors.FmnistError | None = None

    def as_json(self) -> dict[str, Any]:
        """The document that `fetch --json` prints."""
        error = self.error
        return {
            "ok": error is None,
            "files": {
                name: {
                    "path": str(file.path) if file.path else None,
                    "sha256": file.sha256,
                    "source": file.source,
                    "attempts": [attempt.as_json() for attempt in file.attempts],
                }
                for name, file in self.files.items()
            },
            "seconds": round(self.seconds, 3),
            "error": error
            and {"reference": error.reference, "message": error.message, "hint": error.hint},
        }
