"""What went wrong while a data set was written, out of TFDS's and TensorFlow's wrappings."""

from __future__ import annotations

import errno
import pathlib
from collections.abc import Iterator

from fmnist_tfds import errors

# tf.errors.OpError.error_code of a full disk and of a file that may not be written.
_RESOURCE_EXHAUSTED, _PERMISSION_DENIED = 8, 7


def _links(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def lost_race(error: BaseException) -> bool:
    """Whether the final folder was there already when the unfinished one was to take its name."""
    # epath looks first and raises a FileExistsError without errno; between the look and the
    # rename the kernel says ENOTEMPTY.
    return any(
        isinstance(link, FileExistsError)
        or (isinstance(link, OSError) and link.errno == errno.ENOTEMPTY)
        for link in _links(error)
    )


def disk_failure(error: BaseException) -> BaseException | None:
    """What the file system said, out of TFDS's and TensorFlow's wrappings; None if nothing."""
    for link in _links(error):
        if getattr(link, "error_code", None) in (_RESOURCE_EXHAUSTED, _PERMISSION_DENIED):
            return link
        if isinstance(link, OSError) and (
            link.errno is not None or str(link).startswith("Not enough disk space")
        ):
            return link
    return None


def unwritable(folder: pathlib.Path, error: BaseException) -> errors.StoreError:
    """The error that names the folder and what the file system said."""
    said = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return errors.StoreError(
        f"cannot write the prepared data set to {folder}: {said}",
        hint="choose another --data_dir (or TFDS_DATA_DIR) with about 120 MB free",
    )
