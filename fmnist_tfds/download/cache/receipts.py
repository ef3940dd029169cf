"""receipt.json: where each file came from, by which route, what failed before. No secret in it.

One schema, `Receipt`, for the receipt in the cache, beside copies (--out), adopted files, prepared
records and TFDS's downloads; docs/receipt.md describes it to users.

In the cache one small record per file, each written atomically, is the truth; `receipt.json` is put
together from them, so that processes that write at once lose nothing even where locks do not work.
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

    Attributes:
        source: masked URL, path, "found in the cache", or "adopted:" and a path.
        time: when it was obtained, ISO 8601, UTC.
        name: its name, where the entry is keyed by URL (beside TFDS's downloads).
        url: of an artifact of another data set: where its publisher serves it.
        sha256: of an artifact of another data set: its digest.
        payload_sha256: digest of the decompressed file.
        gz_sha256: digest of the published .gz; None where the file is compressed by us.
        canonical_gz: the file is the published .gz, bit for bit.
        file_sha256: digest of the file as it lies there.
        note: why the .gz is not the published one.
        route: how the mirror was reached, where one served the file.
        failed_attempts: what failed before, as `results.Attempt` (fetch --json) has it.
        pieces_from: masked URLs of other mirrors that sent pieces of the file.
        member: of an adopted file: the file, archive member or column it was in.
        form: of an adopted file: the containers around it, outermost first.
        rows_restored: of an adopted file: its rows stood in another order.
    """

    source: str
    time: str
    name: str
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
    member: str
    form: str
    rows_restored: bool


class Receipt(TypedDict):
    """receipt.json.

    Attributes:
        format: 1; another number where a field changes its meaning.
        dataset: name of the data set.
        package: name and version of the package that wrote it.
        files: by file name; beside TFDS's downloads by URL, for names clash there.
    """

    format: int
    dataset: str
    package: str
    files: dict[str, FileRecord]


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
    receipt: Receipt = {
        "format": _FORMAT,
        "dataset": dataset.name,
        "package": f"fmnist_tfds {version.VERSION}",
        "files": {file.name: records[file.name] for file in dataset.files if file.name in records},
    }
    return dict(receipt)


def facts(
    file: artifacts.Artifact, *, canonical_gz: bool, now: datetime.datetime | None = None
) -> FileRecord:
    """The part of a record that every source shares: when, and what the bytes are."""
    time = (now or datetime.datetime.now(datetime.UTC)).isoformat(timespec="seconds")
    if not isinstance(file, catalog.SourceFile):
        return {"time": time, "url": file.url, "sha256": file.sha256}
    record: FileRecord = {
        "time": time,
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
