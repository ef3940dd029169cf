"""Copies one URL to a part file, resuming what the part holds; does not judge the content.

Source: RFC 9110 for Range and Content-Range. A part begun at one mirror is continued at another:
the pinned digest makes that safe. If-Range is not sent on purpose: replicas that tag the same bytes
differently would send the whole file at every resumption.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import requests

from fmnist_tfds import errors
from fmnist_tfds.config import urls
from fmnist_tfds.download.cache import partial_files, store
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.download.transport import (
    library_logs,
    redirects,
    request,
    second_look,
    session,
    watching,
)
from fmnist_tfds.formats import identify

_CHUNK_BYTES = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class _Body(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def run(
    asked: request.Request, watch: watching.Watch, *, span: tuple[int, int] | None = None
) -> request.Reply:
    """Copies the file; failures are explained in the reply.

    Args:
        asked: the file, the mirror and the part.
        watch: receives the progress, and cancels.
        span: [start, stop) in bytes: only that piece, to a part of its own.

    Raises:
        Cancelled: `watch` was cancelled.
        StoreError: the part cannot be written.
        ConfigError: a secret cannot be read.
    """
    reply = request.Reply()
    try:
        if span is not None:
            _piece(asked, watch, reply, span)
        elif asked.mirror.is_http:
            _http(asked, watch, reply)
        else:
            _opened(asked, watch, reply)
    except (watching.Cancelled, errors.FmnistError):
        raise
    except FileNotFoundError:
        reply.problem = causes.named("not-found", "there is no such file")
    except PermissionError as error:
        reply.problem = causes.named("forbidden", f"{error.strerror or error}")
    except Exception as error:  # noqa: BLE001 (requests, urllib3, ssl, fsspec: explained, kept)
        watch.check()
        reply.problem = second_look.from_exception(
            error,
            url=asked.url,
            route=reply.route,
            timeout_s=asked.options.network.connect_timeout_s,
        )
        is_unheard = reply.status is None and asked.mirror.scheme == "https"
        if is_unheard and reply.problem.cause == "reset":
            # The alert of a server that wants a client certificate may be lost in the reset.
            said = second_look.from_reset(asked.url, reply.route, asked.options.network)
            reply.problem = said or reply.problem
    watch.is_copied = True
    # A body that was cancelled looks like one that ended early.
    watch.check()
    return reply


def _http(asked: request.Request, watch: watching.Watch, reply: request.Reply) -> None:
    session.watch_connections(watch.connected)
    offset = partial_files.size_of(asked.part)
    response = redirects.follow(asked, reply, {"Range": f"bytes={offset}-"} if offset else {})
    if (
        response is not None
        and reply.problem is None
        and offset
        and not _continues(response, offset)
    ):
        # 416, or another range than requested: start from byte 0, in the same attempt.
        response.close()
        offset = 0
        asked.part.unlink(missing_ok=True)
        response = redirects.follow(asked, reply, {})
    if response is None:
        return
    with response:
        reply.status, reply.headers = response.status_code, response.headers
        reply.issuer = session.tls_issuer(response)
        if reply.problem is not None:
            return
        if response.status_code not in (200, 206):
            reply.retry_after = response.headers.get("Retry-After", "")
            body = _head(response)
            reply.problem = responses.from_response(
                response.status_code, response.headers, body, url=response.url, route=reply.route
            )
            reply.problem = second_look.from_refusal(asked, response.status_code) or reply.problem
            return
        skip = offset if response.status_code == 200 else 0
        watch.resumed_at = offset - skip
        promised = _promised(response)
        reply.resumed_at = offset
        reply.problem = _copy(asked, watch, _Raw(response), offset, skip, promised)


def _piece(
    asked: request.Request, watch: watching.Watch, reply: request.Reply, span: tuple[int, int]
) -> None:
    """Copies one piece; raises Cancelled where the mirror serves no ranges of this file."""
    session.watch_connections(watch.connected)
    start, stop = span
    response = redirects.follow(asked, reply, {"Range": f"bytes={start}-{stop - 1}"})
    if response is None:
        return
    with response:
        reply.status, reply.headers = response.status_code, response.headers
        if reply.problem is not None:
            return
        is_of_it = _promised(response) in (None, asked.file.size_bytes)
        if response.status_code != 206 or not _continues(response, start) or not is_of_it:
            raise watching.Cancelled
        left, body = stop - start, _Raw(response)
        most = watch.piece_bytes(_CHUNK_BYTES)
        with _appending(asked.part, 0) as sink:
            while left and (chunk := body.read(min(left, most))):
                watch.arrived(len(chunk))
                _write(sink, chunk[:left], asked)
                left -= min(left, len(chunk))
        if left:
            reply.problem = causes.named("truncated", f"{left:,} bytes of the piece are missing")


class _Raw:
    """The body as sent, not decoded, whatever Content-Encoding says."""

    def __init__(self, response: requests.Response) -> None:
        self._raw = response.raw

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        # What has arrived, without waiting for a full buffer: a slow body does not look stalled,
        # and a reset loses nothing that arrived before it.
        return bytes(self._raw.read1(size, decode_content=False))


def _continues(response: requests.Response, offset: int) -> bool:
    """True if the reply to a range request continues the part, or sends the whole file."""
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        return found is not None and int(found.group(1)) == offset
    return response.status_code != 416


def _promised(response: requests.Response) -> int | None:
    """The size of the whole file as the server states it, or None."""
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        return int(found.group(3)) if found and found.group(3) != "*" else None
    length = response.headers.get("Content-Length", "")
    # Python refuses to convert thousands of digits; no file has so many bytes.
    return int(length) if length.isdigit() and len(length) < 20 else None


def _copy(
    asked: request.Request,
    watch: watching.Watch,
    body: _Body,
    offset: int,
    skip: int,
    promised: int | None,
) -> causes.Explanation | None:
    """Appends the body to the part.

    Args:
        asked: the file and its part.
        watch: counts every chunk.
        body: what to copy.
        offset: where in the part to begin.
        skip: how many bytes of the body are in the part already.
        promised: the size of the whole file as the server says, or None.
    """
    limit = identify.limit_bytes(asked.dataset, asked.file)
    watch.size = promised or asked.file.expected_bytes
    if promised is not None and promised > limit:
        return causes.named("too-large", f"{promised:,} bytes promised, at most {limit:,} expected")
    written, most = offset, watch.piece_bytes(_CHUNK_BYTES)
    with _appending(asked.part, offset) as sink:
        while chunk := body.read(most):
            watch.arrived(len(chunk))
            fresh = chunk[min(skip, len(chunk)) :]
            skip -= len(chunk) - len(fresh)
            before, written = written, written + len(fresh)
            _write(sink, fresh, asked)
            crossed = (
                before < asked.file.size_bytes <= written and promised != asked.file.size_bytes
            )
            if crossed and _is_complete(asked, sink):
                # The server states no or a wrong length, and the file is complete: drop the rest.
                sink.truncate(asked.file.size_bytes)
                return None
            if watch.enough is not None and watch.enough(written):
                return None
            if written > limit:
                return causes.named("too-large", f"more than {limit:,} bytes came; stopped")
    return None


def _is_complete(asked: request.Request, sink: BinaryIO) -> bool:
    sink.flush()
    return identify.starts_with(asked.part, asked.file)


@contextlib.contextmanager
def _appending(part: pathlib.Path, offset: int) -> Iterator[BinaryIO]:
    try:
        stream = part.open("r+b" if offset else "wb")
    except OSError as error:
        raise store.unwritable(part.parent.parent, error) from error
    with stream:
        stream.seek(offset)
        stream.truncate(offset)
        yield stream


def _write(sink: BinaryIO, data: bytes, asked: request.Request) -> None:
    try:
        sink.write(data)
        if len(data) < _CHUNK_BYTES:
            sink.flush()
    except OSError as error:
        raise store.unwritable(asked.part.parent.parent, error) from error


def _head(response: requests.Response) -> bytes:
    """The start of an error's body; b"" if it cannot be read."""
    try:
        return bytes(response.raw.read(identify.HEAD_BYTES, decode_content=True) or b"")
    except Exception:  # noqa: BLE001 (a broken error page adds nothing to its status)
        return b""


def _opened(asked: request.Request, watch: watching.Watch, reply: request.Reply) -> None:
    """file:// with the standard library, every other scheme with fsspec."""
    if asked.mirror.scheme == "file":
        path = urls.local_path(asked.url)
        with path.open("rb") as stream:
            watch.is_connected = True
            reply.problem = _copy(asked, watch, stream, 0, 0, path.stat().st_size)
        return
    try:
        import fsspec

        library_logs.attach()
        with fsspec.open(asked.url, "rb").open() as stream:
            watch.is_connected = True
            reply.problem = _copy(asked, watch, stream, 0, 0, None)
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and "protocol" not in str(error).lower():
            raise
        reply.problem = causes.named(
            "unsupported-scheme",
            f"{asked.mirror.scheme}:// needs a package that is not installed",
            "pip install 'fmnist_tfds[cloud]'",
        )
