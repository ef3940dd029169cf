"""A version folder of TFDS: whether it holds a complete data set, and how it is replaced unharmed.

A folder is replaced by two renames: what stands there goes aside, the new one takes its name. Only
then is the old one deleted. A process that ends between the two leaves the old one complete under
the name of `aside`, and `put_back` restores it. Never imports TensorFlow.

    1.0.0                       the data set
    incomplete.ABC123_1.0.0     one in the making; TFDS's own name for it
    .1.0.0.replaced-abc123      the complete one before, while and after it is replaced
    remains.abc123_1.0.0        what held no complete data set; kept until a person deletes it
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import stat
import sys
from collections.abc import Iterable
from typing import Any

from absl import logging
from etils import epath
from google.protobuf import json_format
from tensorflow_datasets.core import constants, file_adapters, naming, splits
from tensorflow_datasets.core import features as features_lib
from tensorflow_datasets.core.proto import dataset_info_pb2

from fmnist_tfds import errors

READABLE = ("tfrecord", "array_record")
# What an unfinished folder must be old before it counts as left behind by a killed process.
_STALE_S = 3600.0
# TFRecord: uint64 length, two crc32c.
_FRAME_BYTES = 16


def stands(folder: epath.Path) -> bool:
    """Whether anything has that name; a dangling link has."""
    return bool(folder.exists()) or os.path.lexists(os.fspath(folder))


def unreadable(folder: Any, name: str, version: str = "") -> str:
    """Why TFDS cannot read the description of data set `name` in `folder`; "" where it can.

    Args:
        folder: a version folder.
        name: of the data set.
        version: the one that its description must name; "" for any.
    """
    try:
        if not folder.is_dir():
            return "it is not a folder" if stands(folder) else "it does not exist"
        info = _read(folder)
        if not (folder / constants.FEATURES_FILENAME).exists():  # TFDS would look 3 times
            return f"{constants.FEATURES_FILENAME} is missing"
        features_lib.FeatureConnector.from_config(os.fspath(folder))
    except FileNotFoundError as error:
        return f"{epath.Path(error.filename or folder).name} is missing"
    except OSError as error:
        return f"{epath.Path(error.filename or folder).name} cannot be read: {error.strerror}"
    except _UnreadableError as error:
        return str(error)
    # TFDS lets KeyError, ValueError, AttributeError and more out, as the file's text decides.
    except Exception as error:  # noqa: BLE001
        return f"{constants.FEATURES_FILENAME} cannot be read: {type(error).__name__}"
    if info.name != name:
        return f"{constants.DATASET_INFO_FILENAME} describes {info.name or 'no data set'}"
    if version and info.version != version:
        return f"{constants.DATASET_INFO_FILENAME} describes version {info.version or 'none'}"
    return ""


def fault(folder: epath.Path, name: str, version: str = "") -> str:
    """Why `folder` holds no complete data set `name`; "" where it does.

    Cheap: the descriptions are read and the shards' sizes looked at, no record. Arguments as those
    of `unreadable`.
    """
    if why := unreadable(folder, name, version):
        return why
    info = _read(folder)
    file_format = info.file_format or "tfrecord"
    if file_format not in READABLE:
        return f"its format is {file_format}"
    if not (folder / "label.labels.txt").exists():
        return "label.labels.txt is missing"  # TFDS would call the classes "0" to "9"
    if not info.splits:
        return f"{constants.DATASET_INFO_FILENAME} names no splits"
    suffix = file_adapters.FileFormat(file_format).file_suffix
    template = naming.ShardedFileTemplate(
        dataset_name=name, data_dir=folder, filetype_suffix=suffix
    )
    for split in splits.SplitDict.from_proto(info.splits, template).values():
        if why := _split_fault(split, file_format):
            return why
    return ""


def _looked_at(path: Any) -> tuple[bool, int, float]:
    """Whether `path` is a folder, its size in bytes, and when it changed, seconds since 1970.

    On a local disk not by epath: it asks for the owner's name, and fails where there is none, as
    under the numbers that containers run by.
    """
    if "://" in os.fspath(path):
        far = path.stat()
        return far.is_directory, far.length, far.mtime
    near = pathlib.Path(os.fspath(path)).stat()
    return stat.S_ISDIR(near.st_mode), near.st_size, near.st_mtime


def _split_fault(split: Any, file_format: str) -> str:
    if not split.num_examples:
        return f"split {split.name} is empty"
    sizes = {}
    for path in map(epath.Path, split.filepaths):
        try:
            is_folder, size, _ = _looked_at(path)
        except OSError as error:
            return f"{path.name} is missing or cannot be read: {error.strerror}"
        if is_folder or not size:
            return f"{path.name} is empty or no file"
        sizes[path] = size
    if file_format == "tfrecord":
        wanted = split.num_bytes + split.num_examples * _FRAME_BYTES
        if sum(sizes.values()) != wanted:
            return (
                f"the shards of {split.name} have {sum(sizes.values()):,} bytes "
                f"instead of {wanted:,}"
            )
        return ""
    # The sizes of compressed records are not known; the file's own footer counts them.
    from array_record.python import array_record_module

    for path, examples in zip(sizes, split.shard_lengths, strict=True):
        try:
            reader = array_record_module.ArrayRecordReader(os.fspath(path))
            counted = reader.num_records()
            reader.close()
        except RuntimeError:
            return f"{path.name} cannot be read"
        if counted != examples:
            return f"{path.name} holds {counted:,} records instead of {examples:,}"
    return ""


class _UnreadableError(Exception):
    """The text of dataset_info.json is no description of a data set."""


def _read(folder: epath.Path) -> Any:
    """dataset_info.json as TFDS's message."""
    try:
        text = (folder / constants.DATASET_INFO_FILENAME).read_text(encoding="utf-8")
        return json_format.Parse(text, dataset_info_pb2.DatasetInfo())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        said = f"{constants.DATASET_INFO_FILENAME} cannot be read: {type(error).__name__}"
        raise _UnreadableError(said) from error


def in_the_making(final: epath.Path) -> epath.Path:
    """A name beside `final` that nobody takes for a data set."""
    return final.parent / f"{constants.INCOMPLETE_PREFIX}{_random().upper()}_{final.name}"


def replaced(final: epath.Path) -> list[epath.Path]:
    """The folders that stood at `final` before, while they are replaced or where that was cut."""
    return sorted(final.parent.glob(f".{final.name}.replaced-*"))


def swap(new: epath.Path, final: epath.Path, *, keep: bool) -> None:
    """Gives `new` the name `final`; what stood there is deleted after that, or kept as remains.

    Args:
        new: a complete folder beside `final`.
        final: where something stands.
        keep: whether what stands there is kept.

    Raises:
        StoreError: what stands there cannot be renamed, and stays.
        OSError: `new` cannot be renamed; what stood there is back.
    """
    old = _aside(final, keep=keep)
    try:
        final.rename(old)
    except FileNotFoundError:
        pass  # Another process is replacing it in this moment.
    except OSError as error:
        raise errors.StoreError(
            f"cannot replace {final}: {error.strerror}; what stands there is unharmed",
            hint=_right_to_rename(final)
            if error.errno in (errno.EACCES, errno.EPERM)
            else "end the programs that have its files open (on Windows they hold the folder); "
            "then build again",
        ) from error
    try:
        new.rename(final)
    except BaseException:
        if stands(old) and not stands(final):
            old.rename(final)
        raise
    if keep:
        logging.warning("%s held no complete data set; it is kept as %s", final, old)
    else:
        discard(old)


def _right_to_rename(final: epath.Path) -> str:
    """Which right is missing where a folder may not be renamed, and whose it is."""
    parent = final.parent
    return (
        f"it belongs to {_owner(final)}, {parent} to {_owner(parent)}: replacing it needs the "
        f"right to write in {parent} (and, where that has the sticky bit, to own the folder); "
        "ask for it, or choose another --data_dir; on Windows, end the programs that have its "
        "files open"
    )


def _owner(path: epath.Path) -> str:
    near = pathlib.Path(os.fspath(path))
    if sys.platform != "win32":
        with contextlib.suppress(KeyError, OSError):  # a number without a name
            return near.owner()
    with contextlib.suppress(OSError):
        return f"user {near.stat().st_uid}"
    return "somebody"


def put_back(final: epath.Path, name: str, version: str) -> bool:
    """Restores the complete data set that a process was replacing when it was killed.

    Returns:
        Whether there was one; `final` held no complete data set before.
    """
    for old in replaced(final):
        if not fault(old, name, version):
            if stands(final):
                final.rename(_aside(final, keep=True))
            old.rename(final)
            logging.warning("%s: the process that was replacing it is gone; restored.", final)
            return True
    return False


def discard(folder: epath.Path) -> None:
    """Deletes what stands there; what cannot be deleted stays, with a warning."""
    try:
        if os.path.islink(folder) or folder.is_file():  # noqa: PTH114  (epath has no is_symlink)
            folder.unlink()
        elif folder.exists():
            folder.rmtree()
    except OSError as error:
        logging.warning("%s is not needed any more and cannot be deleted: %s", folder, error)


def sweep(final: epath.Path, orphans: Iterable[Any], *, now_s: float) -> None:
    """Removes what killed preparers of `final` left: up to 66 MB each.

    One killed in the millisecond between making its folder and noting it leaves that folder,
    still empty, until it is old: empty folders may be those of living preparers.

    Args:
        final: what they were to make.
        orphans: folders that dead preparers had noted as theirs.
        now_s: what time it is on that file system, in seconds since 1970.
    """
    names = [orphan.name for orphan in orphans]
    for stale in final.parent.glob(f"{constants.INCOMPLETE_PREFIX}*_{final.name}"):
        try:
            newest = max(_looked_at(path)[2] for path in (stale, *stale.iterdir()))
            # TFDS's name for its folder ends with the name that the folder is to have.
            is_orphan = any(name.endswith(stale.name) for name in names)
            if is_orphan or now_s - newest > _STALE_S:
                logging.info("Removing %s: the process that wrote it is gone.", stale)
                stale.rmtree()
        except OSError as error:
            logging.info("%s: left as it is: %s", stale, error)


def _aside(final: epath.Path, *, keep: bool) -> epath.Path:
    name = f"remains.{_random()}_{final.name}" if keep else f".{final.name}.replaced-{_random()}"
    return final.parent / name


def _random() -> str:
    return secrets.token_hex(3)
