"""receipt.json: where each file came from, by which route, what failed before. No secret in it.

One small record per file, each written atomically, is the truth; `receipt.json` is put together
from them, so that processes that write at once lose nothing even where locks do not work.
"""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypedDict

from fmnist_tfds import artifacts, atomic_file, catalog, version

NAME = "receipt.json"
_FORMAT = 1


class RouteRecord(TypedDict):
    """How a mirror was reached."""

    proxy: str | None
    proxy_origin: str
    tls_issuer: str | None
    insecure_tls: bool


class FileRecord(TypedDict, total=False):
    """What receipt.json says of one file: every field that there is.

    `url` and `sha256` stand only for a plain artifact, `route` only where a mirror served the
    file, `note` only where the .gz is not canonical, `file_sha256` only where the cache holds it,
    `pieces_from` only where other mirrors sent pieces of it.
    """

    source: str
    time: str
    url: str
    sha256: str
    payload_sha256: str
    gz_sha256: str | None
    canonical_gz: bool
    file_sha256: str
    note: str
    route: RouteRecord
    failed_attempts: list[dict[str, Any]]
    pieces_from: list[str]


def write_json(path: pathlib.Path, document: Mapping[str, object]) -> None:
    """Writes `document` so that a reader sees the old or the new one, never a part.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    with atomic_file.replacing(path) as stream:
        stream.write(text.encode())


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The document at `path`; {} if there is none or it is no JSON object."""
    try:
        if not path.is_file():
            return {}  # a FIFO would never end
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Absent, unreadable or damaged: bookkeeping that is made again, never data.
        return {}
    return document if isinstance(document, dict) else {}


def assemble(
    records: Mapping[str, FileRecord], *, dataset: artifacts.ArtifactSet
) -> dict[str, Any]:
    """The receipt of all files on record."""
    return {
        "format": _FORMAT,
        "dataset": dataset.name,
        "package": f"fmnist_tfds {version.VERSION}",
        "files": {
            file.name: dict(records[file.name]) for file in dataset.files if file.name in records
        },
    }


def facts(file: artifacts.Artifact, *, canonical_gz: bool) -> FileRecord:
    """The part of a record that every source shares: when, and what the bytes are."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if not isinstance(file, catalog.SourceFile):
        return {"time": now, "url": file.url, "sha256": file.sha256}
    record: FileRecord = {
        "time": now,
        "payload_sha256": file.payload_sha256,
        "gz_sha256": file.sha256 if canonical_gz else None,
        "canonical_gz": canonical_gz,
    }
    if not canonical_gz and file.sha256:
        record["note"] = (
            "proved by its payload; the canonical .gz could not be made on this machine "
            "(no GNU gzip)"
        )
    return record
