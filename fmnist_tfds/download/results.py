"""Results of `obtain`: per attempt, per file and overall, and their JSON form."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from fmnist_tfds import errors
from fmnist_tfds.download.diagnosis import causes

_LEFT_OUT_IF_EMPTY = ("evidence", "remedy")


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one source; fit to be shown, no secret in it.

    Attributes:
        url: masked.
        outcome: "ok", "failed", "part" where it sent a piece of the file, or "cancelled" where it
            was not needed any more.
        cause: name of a cause (diagnosis/causes), or "".
        http_status: status of the last response, or None.
        bytes: body bytes received.
        seconds: how long it took.
        evidence: what was seen.
        remedy: what the user can do.
    """

    url: str
    outcome: str
    cause: causes.CauseName | Literal[""] = ""
    http_status: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    evidence: str = ""
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields of the JSON interface, and evidence and remedy where there are any."""
        fields = dataclasses.asdict(self).items()
        return {key: value for key, value in fields if value or key not in _LEFT_OUT_IF_EMPTY}


def failed(url: str, why: causes.Explanation, remedy: str = "") -> Attempt:
    """A failed attempt that moved no bytes.

    Args:
        url: masked.
        why: cause and evidence; its own remedy is left out.
        remedy: what the user can do, where there is something to say.
    """
    return Attempt(url, "failed", why.cause, evidence=why.evidence, remedy=remedy)


@dataclasses.dataclass(frozen=True, slots=True)
class FileResult:
    """The result for one file.

    Attributes:
        path: the verified file, or None.
        sha256: digest of that file, or None where it was not computed.
        source: masked URL, folder, "cache", or None.
        attempts: every attempt, failed or not, in the order they ended.
    """

    path: pathlib.Path | None
    sha256: str | None = None
    source: str | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The result for all files that were asked for.

    Attributes:
        files: by canonical name.
        seconds: how long it took.
        receipt: where they came from; the content of receipt.json.
        error: why a file is missing, or None.
    """

    files: Mapping[str, FileResult]
    seconds: float = 0.0
    receipt: dict[str, Any] = dataclasses.field(default_factory=dict)
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
