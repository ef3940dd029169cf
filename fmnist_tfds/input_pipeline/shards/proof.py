"""The proof that a split is the genuine one: pixels and labels, hashed, against the catalog.

A split that was proved once in this process is not hashed again.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, errors
from fmnist_tfds.formats import idx
from fmnist_tfds.input_pipeline.shards import prepared, records

_log = logging.getLogger(__name__)
_KINDS: tuple[catalog.Kind, ...] = ("images", "labels")
# Proved genuine or, where the catalog does not know them, intact.
_passed: set[prepared.Split] = set()


class Proof:
    """Hashes images and labels in the order in which they are given."""

    def __init__(self, split: prepared.Split, *, wanted: bool) -> None:
        self._split = split
        self._files: list[tuple[catalog.SourceFile, Any]] = []
        self.is_open = wanted and split not in _passed
        self.hashes = self.is_open and _provable(split)
        if self.hashes and split.source:
            for kind in _KINDS:
                file = split.source.part(split.split, kind)
                self._files.append((file, hashlib.sha256(idx.header(file.shape))))

    def update(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> None:
        """Adds images and labels to the digests."""
        if not self.hashes:
            return
        for (_, digest), part in zip(self._files, (images, labels.astype(np.uint8)), strict=True):
            digest.update(np.ascontiguousarray(part).data)

    def settle(self) -> None:
        """Compares the digests.

        Raises:
            RecordError: they differ, and a record's checksum says which one is damaged.
            ContentError: they differ though every record is intact.
        """
        if not self.is_open:
            return
        if self.hashes and all(d.hexdigest() == file.payload_sha256 for file, d in self._files):
            _passed.add(self._split)
            return
        if self._split.file_format == "tfrecord":
            for stored in map(records.open_stored, self._split.shards):
                if stored:
                    stored.check_sums()
        if not self.hashes:
            _passed.add(self._split)
            return
        lines = [
            f"  {file.payload_name}  expected sha256 {file.payload_sha256}\n"
            f"  {' ' * len(file.payload_name)}  got             {digest.hexdigest()}"
            for file, digest in self._files
        ]
        raise errors.ContentError(
            f"the prepared {self._split.dataset} {self._split.split} split is not the genuine one, "
            "though every record is intact\n" + "\n".join(lines),
            hint="prepare it again: fmnist-tfds build --overwrite (fmnist_resilient) or TFDS's own "
            "build command; or pass verify=False to read it as it is",
        )


class Scan:
    """The proof of splits that stay on disk, piece by piece, in bounded memory.

    Attributes:
        stored: the shards of all splits; None for one that only the general path reads.
    """

    def __init__(self, splits: Sequence[prepared.Split], *, verify: bool) -> None:
        self._proofs = [(split, Proof(split, wanted=verify)) for split in splits]
        opened = [records.open_all(split.shards) for split in splits]
        self.stored = [shard for shards in opened for shard in shards]
        self._work = [
            in_background(_hash, split, shards, proof)
            for (split, proof), shards in zip(self._proofs, opened, strict=True)
        ]

    def settle(self) -> None:
        """Waits for the proof.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        for work in self._work:
            work.result()
        for _, proof in self._proofs:
            proof.settle()


def in_background(function: Any, *arguments: Any) -> concurrent.futures.Future[None]:
    """The call, begun in a thread of its own."""
    pool = concurrent.futures.ThreadPoolExecutor(1, "fmnist-tfds-load")
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future


def _hash(split: prepared.Split, stored: Sequence[records.Stored | None], proof: Proof) -> None:
    if proof.hashes or (proof.is_open and None in stored):
        for _, images, labels in records.pieces(split.shards, stored):
            proof.update(images, labels)


def _provable(split: prepared.Split) -> bool:
    """Whether the catalog holds digests for the whole of this split.

    Raises:
        ContentError: the split is known, and only a part of it was prepared.
    """
    if split.source is None:
        _log.warning(
            "%s is not in the catalog (or in another order): its bytes are read with their "
            "checksums, but cannot be proved genuine",
            split.dataset,
        )
        return False
    whole = split.source.part(split.split, "images").shape[0]
    if split.examples != whole:
        raise errors.ContentError(
            f"{split.dataset} {split.split}: verify=True proves the whole split of {whole:,} "
            f"examples, and {split.examples:,} are prepared",
            hint="pass verify=False, or build without --max_examples_per_split",
        )
    return True
