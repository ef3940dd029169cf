"""Turns what libraries log about our requests into DEBUG records, without secrets or tracebacks.

A filter on the libraries' own loggers; the root logger, handlers and levels stay as the user's
program set them. Only records of our own attempts are changed: those of threads inside `hushed`,
and of fsspec's thread meanwhile. We explain failures ourselves, so a library's warnings are shown
only where its logger is set to DEBUG.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

Mask = Callable[[str], str]

# fsspec's drivers come with loggers of many names.
_LIBRARIES = (
    *("urllib3", "requests", "charset_normalizer", "truststore", "socks"),
    *("fsspec", "s3fs", "gcsfs", "aiohttp", "aiobotocore", "botocore", "google", "asyncio"),
)
_FSSPEC_THREAD = "fsspecIO"

_masks: dict[int, Mask] = {}


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        masks = _masks_of_this_thread()
        if not masks:
            return True
        if not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return False
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = "(a message that does not fit its arguments)"
        for mask in masks:
            text = mask(text)
        record.msg, record.args = text, ()
        record.exc_info = record.exc_text = record.stack_info = None
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return True


_FILTER = _Filter()


@contextlib.contextmanager
def hushed(mask: Mask) -> Iterator[None]:
    """What libraries log from this thread passes through `mask`, until the end of the block."""
    attach()
    me = threading.get_ident()
    before = _masks.get(me)
    _masks[me] = mask
    try:
        yield
    finally:
        if before is None:
            del _masks[me]
        else:
            _masks[me] = before


def attach() -> None:
    """Puts the filter on every logger of the libraries that there is by now."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_FILTER)


def _masks_of_this_thread() -> list[Mask]:
    mine = _masks.get(threading.get_ident())
    if mine is not None:
        return [mine]
    is_ours = threading.current_thread().name.startswith(_FSSPEC_THREAD)
    return list(_masks.values()) if is_ours else []
