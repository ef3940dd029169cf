"""The cache: verified files under their final names, private part files, receipts.

Nothing unverified ever gets a final name: verify, fsync, then atomic rename. Locks save
bandwidth; correctness never depends on them (on some network file systems flock always succeeds).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import filelock

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.download.cache import partial_files, receipts
from fmnist_tfds.formats import gzip_file, identify

_STATE = ".state"
_WAIT_POLL_S = 0.1
_QUIET_S = 20.0
_ELSEWHERE = "or choose another folder: --cache_dir or FMNIST_TFDS_CACHE_DIR"


class Store:
    """One folder with the verified files of one data set."""

    def __init__(
        self,
        directory: pathlib.Path,
        dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
    ) -> None:
        self.directory = pathlib.Path(directory)
        self.dataset = dataset
        self.parts = partial_files.Parts(self.directory / _STATE)

    def path(self, file: artifacts.Artifact) -> pathlib.Path:
        """Where the file lies once it is verified."""
        return self.directory / file.cache_name

    def lookup(self, file: artifacts.Artifact) -> pathlib.Path | None:
        """The verified file, or None. One that turns out to be damaged is set aside."""
        path = self.path(file)
        try:
            stat = path.stat()
        except OSError:
            # Absent, or in a folder without permission to enter: not here, in both cases.
            return None
        if not path.is_file():
            # Reading a FIFO or a device would never end; a folder blocks the file's name.
            self._set_aside(path)
            return None
        stamp = _stamp(stat)
        state = receipts.read_json(self._state(file))
        if state.get("stamp") == stamp:
            return path
        try:
            identity = identify.identify(path, dataset=self.dataset, expected=file)
        except OSError:
            return None
        if not identity.is_file(file):
            self._set_aside(path)
            return None
        with contextlib.suppress(OSError):  # a read-only cache is hashed every time instead
            record = state.get("record") or {
                "source": "found in the cache",
                **receipts.facts(file, canonical_gz=identity.verdict == "genuine"),
            }
            receipts.write_json(self._state(file), {"stamp": stamp, "record": record})
        return path

    def part_path(self, file: artifacts.Artifact) -> pathlib.Path:
        """A private part file for this process: an abandoned one to resume, else a new name.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.prepare()
        return self.parts.claim(file.cache_name)

    def piece_path(self, file: artifacts.Artifact, start: int) -> pathlib.Path:
        """A private path for the piece of `file` from byte `start` on."""
        return self.parts.piece(f"{file.cache_name}-{start}")

    def prepare(self) -> None:
        """Makes the folders and proves that they can be written.

        Raises:
            StoreError: they cannot.
        """
        try:
            (self.directory / _STATE).mkdir(parents=True, exist_ok=True)
            probe = self.directory / _STATE / f".probe-{os.getpid()}-{time.monotonic_ns()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def publish(
        self, part: pathlib.Path, file: artifacts.Artifact, record: receipts.FileRecord
    ) -> pathlib.Path:
        """Verifies `part`, moves it under its final name and writes the receipt.

        Args:
            part: a file on the same file system; gone afterwards.
            file: what it must be.
            record: where it came from, for the receipt.

        Raises:
            ContentError: it is not that file.
            StoreError: the folder cannot be written.
        """
        identity = identify.identify(part, dataset=self.dataset, expected=file)
        if not identity.is_file(file):
            raise errors.ContentError(f"{part.name}: expected {file.name}, got {identity.detail}")
        return self.publish_known(part, file, identity, record)

    def publish_known(
        self,
        part: pathlib.Path,
        file: artifacts.Artifact,
        identity: identify.Identity,
        record: receipts.FileRecord,
    ) -> pathlib.Path:
        """As `publish`, with the identity of `part` just found by the caller."""
        try:
            is_canonical = identity.verdict == "genuine"
            if not is_canonical:
                is_canonical = self._rewrap(part, file)
            _sync(part)
            full: receipts.FileRecord = {
                **receipts.facts(file, canonical_gz=is_canonical),
                **record,
            }
            full["file_sha256"] = file.sha256 if is_canonical else sha256(part)
            # Before the file: else another process could see it and record "found in the cache".
            receipts.write_json(self._state(file), {"stamp": _stamp(part.stat()), "record": full})
            target = self.path(file)
            part.replace(target)
            _sync(self.directory)
            self.parts.drop(file.cache_name)
            self._write_receipt()
        except OSError as error:
            raise unwritable(self.directory, error) from error
        return target

    def record(self, file: artifacts.Artifact) -> receipts.FileRecord:
        """The record of a file in the cache; {} if there is none."""
        record = receipts.read_json(self._state(file)).get("record") or {}
        return cast("receipts.FileRecord", dict(record))

    def receipt(self) -> dict[str, Any]:
        """The receipt of the files in the cache."""
        records = {
            file.name: self.record(file) for file in self.dataset.files if self.path(file).exists()
        }
        return receipts.assemble({n: r for n, r in records.items() if r}, dataset=self.dataset)

    @contextlib.contextmanager
    def turn(
        self,
        file: artifacts.Artifact,
        *,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[None]:
        """Waits, bounded, while another process downloads `file`.

        Best effort: returning early costs bandwidth, never correctness. Returns early when the
        file is here, or when no partial file of it has grown for `_QUIET_S` seconds.
        """
        lock = filelock.FileLock(self.directory / _STATE / f"{file.cache_name}.lock")
        held = False
        start = quiet_since = clock()
        activity = self.parts.activity(file.cache_name)
        while clock() - start < wait_s and clock() - quiet_since < _QUIET_S:
            try:
                lock.acquire(timeout=0)
                held = True
                break
            except filelock.Timeout:
                sleep(_WAIT_POLL_S)
            except (OSError, NotImplementedError):
                # No locks here: go without.
                break
            if self.path(file).exists():
                break
            if (now := self.parts.activity(file.cache_name)) != activity:
                activity, quiet_since = now, clock()
        try:
            yield
        finally:
            if held:
                lock.release()

    def mirror_memory(self) -> pathlib.Path:
        """Where the mirrors that failed lately are remembered."""
        return self.directory / _STATE / "mirrors.json"

    def _write_receipt(self) -> None:
        if not isinstance(self.dataset, catalog.Catalog):
            return  # the folder is shared: receipts of artifacts stand where they are used
        receipt: dict[str, Any] = {}
        # Repeated if another file arrived meanwhile: its process may have written before us.
        while receipt != (now := self.receipt()):
            receipt = now
            receipts.write_json(self.directory / receipts.NAME, receipt)

    def _state(self, file: artifacts.Artifact) -> pathlib.Path:
        return self.directory / _STATE / f"{file.cache_name}.json"

    def _rewrap(self, part: pathlib.Path, file: artifacts.Artifact) -> bool:
        assert isinstance(self.dataset, catalog.Catalog)
        assert isinstance(file, catalog.SourceFile)
        data = identify.payload(part, dataset=self.dataset, expected=file)
        if gzip_file.write(data, file, part):
            return True
        gzip_file.write_own(data, file, part)
        return False

    def _set_aside(self, path: pathlib.Path) -> None:
        # One per name, kept as evidence. If it cannot be moved, `publish` reports why.
        with contextlib.suppress(OSError):
            (self.directory / _STATE).mkdir(exist_ok=True)
            path.replace(self.directory / _STATE / f"{path.name}.damaged")


def sha256(path: pathlib.Path) -> str:
    """The digest of a whole file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(stat: os.stat_result) -> dict[str, int]:
    """What changes when a file is written: while it stays, the file need not be hashed again."""
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def unwritable(directory: pathlib.Path, error: OSError) -> errors.StoreError:
    """The error for a folder that cannot be written."""
    for link in (directory, *directory.parents):
        if link.is_symlink() and not link.exists():
            return errors.StoreError(
                f"{directory}: the cache cannot be written: {link} is a link to "
                f"{link.readlink()}, where there is nothing",
                hint=f"mount or make what it leads to, {_ELSEWHERE}",
            )
    return errors.StoreError(
        f"{directory}: the cache cannot be written: {error.strerror or error}",
        hint=f"free space or rights there, {_ELSEWHERE}",
    )


def _sync(path: pathlib.Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # a folder cannot be opened there
    # Windows syncs only what may be written.
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        # Some file systems cannot sync a folder; the rename is atomic all the same.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
