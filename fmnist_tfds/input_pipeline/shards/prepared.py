"""Which prepared data set, where its shards lie, how many examples each holds. Opens no socket."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow_datasets as tfds
from etils import epath

from fmnist_tfds import catalog, errors, version_folder

# A rename on a busy network file system takes a tenth of a second.
_LOOKS, _LOOK_S = 20, 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """One file of a split: its path, the examples it must hold, and what tells it changed."""

    path: pathlib.Path
    examples: int
    bytes: int
    mtime_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """One prepared split.

    Attributes:
        dataset: the data set's name, for messages and the catalog.
        split: "train" or "test".
        file_format: TFDS's name, "tfrecord" or "array_record".
        shards: its files, in order.
        source: the catalog's entry, or None for a data set that it does not hold.
    """

    dataset: str
    split: catalog.Split
    file_format: str
    shards: tuple[Shard, ...]
    source: catalog.Catalog | None

    @property
    def examples(self) -> int:
        """How many examples all shards hold together."""
        return sum(shard.examples for shard in self.shards)


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The examples that a split's name stands for.

    Attributes:
        splits: the whole splits that they are cut from; their examples are numbered one after
            another.
        spans: [first, stop) of those numbers, without overlap.
    """

    splits: tuple[Split, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The files of all splits, in the order of the numbers."""
        return tuple(shard for split in self.splits for shard in split.shards)

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """The numbers of the examples: int32[examples]."""
        return np.concatenate([np.arange(*span, dtype=np.int32) for span in self.spans])

    @property
    def examples(self) -> int:
        """How many examples are selected."""
        return sum(stop - first for first, stop in self.spans)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its splits, in their order."""
        return self.spans == ((0, sum(split.examples for split in self.splits)),)

    @property
    def name(self) -> str:
        """The splits: "train", "test" or "train+test"."""
        return "+".join(split.split for split in self.splits)


def find_builder(name: str, data_dir: str | os.PathLike[str] | None, builder: Any) -> Any:
    """A TFDS builder whose data is prepared; its folder may have any name.

    Raises:
        NotPreparedError: `data_dir` holds no prepared data set of that name, or remains of one.
    """
    if builder is not None:
        folder = pathlib.Path(str(builder.data_path))
        why = version_folder.unreadable(folder, builder.name)
        if not why and not builder.info.splits:
            # Prepared after the builder was made, or remains that it did not take over.
            why = version_folder.fault(epath.Path(folder), builder.name)
            if not why:
                builder.info.read_from_directory(str(folder))
        if why:
            raise _not_prepared(builder.name, folder, f": {why}")
        return builder
    where = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR)
    try:
        where = where.expanduser()
    except RuntimeError as error:
        raise _not_prepared(name, where, ": this user has no home folder; set data_dir") from error
    # tfds.builder(name) imports every data set of TFDS first: 0.4 s against 2 ms.
    found = _versions(where / name)
    for _ in range(_LOOKS):
        if found or not any((where / name).glob(".*.replaced-*")):
            break
        time.sleep(_LOOK_S)  # between the two renames of a process that replaces it
        found = _versions(where / name)
    if not found and not version_folder.unreadable(where, name):
        return tfds.builder_from_directory(str(where))  # a version folder itself, under any name
    if not found and where.name == name and _versions(where):
        right = f"; data_dir is one level too deep: it is {where.parent}"
        raise _not_prepared(name, where, right)
    if not found:
        is_cut = any((where / name).glob(".*.replaced-*"))
        why = ": a process was killed while replacing it; building restores it without a download"
        raise _not_prepared(name, where, why if is_cut else "")
    faults = []
    for version, folder in sorted(found, key=lambda each: _preference(name, *each), reverse=True):
        why = version_folder.unreadable(folder, name, str(version))
        if not why:
            return tfds.builder_from_directory(str(folder))
        faults.append(f": {folder.name}: {why}")
    raise _not_prepared(name, where, faults[0])


def _versions(folder: pathlib.Path) -> list[tuple[Any, pathlib.Path]]:
    """The version folders of a data set, whatever they hold."""
    return [
        (tfds.core.Version(path.name), path)
        for path in folder.glob("*")
        if tfds.core.Version.is_valid(path.name)
    ]


def _preference(name: str, version: Any, folder: pathlib.Path) -> tuple[bool, Any]:
    """The version that tfds.load would take, the code's, before others; then the highest."""
    known = tfds.core.registered._DATASET_REGISTRY.get(name)
    return known is not None and str(known.VERSION) == folder.name, version


def find_split(builder: Any, split: str) -> Split:
    """The shards of one split.

    Raises:
        ArgumentError: the data set has no such split.
        RecordError: a shard that the data set's description names is not there.
    """
    if split not in ("train", "test") or split not in builder.info.splits:
        raise errors.ArgumentError(
            f"split: expected one of {sorted(builder.info.splits)}, got {split!r}"
        )
    info = builder.info.splits[split]
    shards = []
    for path, examples in zip(info.filepaths, info.shard_lengths, strict=True):
        file = pathlib.Path(str(path))
        try:
            found = file.stat()
        except OSError as error:
            raise errors.RecordError(
                f"{file}: the shard cannot be read: {error.strerror}", hint=_AGAIN
            ) from error
        shards.append(Shard(file, int(examples), found.st_size, found.st_mtime_ns))
    return Split(
        builder.name,
        split,  # type: ignore[arg-type]
        builder.info.file_format.value,
        tuple(shards),
        catalog.DATASETS.get(builder.name),
    )


def select(builder: Any, split: Any) -> Selection:
    """The examples of a split, of a slice, or of several joined by "+".

    Args:
        builder: of a prepared data set.
        split: in TFDS's words: "train", "train[:90%]", "train[-500:]", "train+test", or one of
            those that `tfds.even_splits` gives.

    Raises:
        ArgumentError: there is no such split, it holds no example, or one twice.
        RecordError: a shard that the data set's description names is not there.
    """
    if isinstance(split, str) and "[" not in split and "+" not in split:
        whole = find_split(builder, split)
        return Selection((whole,), ((0, whole.examples),))
    try:
        found = builder.info.splits[split]
        pieces = found.file_instructions if found.num_examples > 0 else []
    # What TFDS raises for what it cannot read.
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        raise errors.ArgumentError(
            f"split: expected one of {sorted(builder.info.splits)}, or a slice such as "
            f"'train[:90%]', got {split!r}"
        ) from error
    if not pieces:
        raise errors.ArgumentError(f"split: {split!r} has no examples")
    known = builder.info.splits.items()
    names = {str(path): name for name, info in known for path in info.filepaths}
    bases = dict.fromkeys(names[str(piece.filename)] for piece in pieces)
    splits = tuple(find_split(builder, base) for base in bases)
    shards = [shard for whole in splits for shard in whole.shards]
    before = np.cumsum([0, *(shard.examples for shard in shards)]).tolist()
    starts = {str(shard.path): first for shard, first in zip(shards, before, strict=False)}
    spans: list[tuple[int, int]] = []
    for piece in pieces:
        first = starts[str(piece.filename)] + piece.skip
        count = piece.examples_in_shard - piece.skip if piece.take < 0 else piece.take
        if spans and spans[-1][1] == first:
            first = spans.pop()[0]
        spans.append((first, starts[str(piece.filename)] + piece.skip + count))
    if any(first < stop for (_, stop), (first, _) in itertools.pairwise(sorted(spans))):
        raise errors.ArgumentError(
            f"split: {split!r} holds examples twice; each may be in one part alone"
        )
    return Selection(splits, tuple(spans))


_AGAIN = "prepare the data again: fmnist-tfds build --overwrite"


def damaged(path: pathlib.Path, record: int, total: int, why: str) -> errors.RecordError:
    """The error that names a damaged record of a shard."""
    return errors.RecordError(
        f"{path}: record {record} of {total:,} is damaged: {why}", hint=_AGAIN
    )


def _not_prepared(name: str, where: object, why: str) -> errors.NotPreparedError:
    return errors.NotPreparedError(
        f"no prepared data set {name} in {where}{why}",
        hint=f"make it, or mend it: fmnist-tfds build --data_dir=DIR (fmnist_resilient), or "
        f"tfds.builder({name!r}, data_dir=DIR).download_and_prepare() after import fmnist_tfds; "
        "then pass that data_dir",
    )
