"""Checks what a mirror serves: a whole file by its hash, of another the first bytes by Range,
compared with the known gzip header.

Source: RFC 1952 (gzip header), RFC 9110 section 14 (Range).
"""

from __future__ import annotations

import dataclasses
import http.client
import struct

import urllib3.exceptions

from fmnist_tfds import artifacts, catalog
from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.download.transport import redirects, request, second_look
from fmnist_tfds.formats import gzip_file, identify

# Enough to recognise an error document of an object store, too.
_ASKED_BYTES = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Beginning:
    """What the first bytes of a file on a mirror show.

    Attributes:
        why: why the file is not available there, or None.
        is_ranged: the server honoured Range.
        note: how the file differs from the published one, though it can be used; or "".
        hops: the URLs requested, in order.
    """

    why: causes.Explanation | None
    is_ranged: bool = False
    note: str = ""
    hops: tuple[str, ...] = ()


def whole(order: request.Request, delivery: request.Reply) -> causes.Explanation | None:
    """Why the copy at `order.part` is not the file, or None where its hash proves it."""
    identity = identify.identify(order.part, dataset=order.dataset, expected=order.file)
    if identity.is_file(order.file):
        return None
    if identity.is_genuine:
        return causes.named("wrong-content", identity.detail)
    return responses.from_identity(
        identity.verdict,
        identity.detail,
        body_start=identify.head_of(order.part),
        headers=delivery.headers,
        url=order.url,
    )


def beginning(order: request.Request) -> Beginning:
    """Requests the first bytes of the file of `order`; writes nothing.

    Raises:
        ConfigError: a secret cannot be read.
    """
    delivery = request.Reply()
    found = _look(order, delivery)
    return dataclasses.replace(found, hops=tuple(delivery.hops))


def _look(order: request.Request, delivery: request.Reply) -> Beginning:
    network = order.options.network
    asked = {"Range": f"bytes=0-{_ASKED_BYTES - 1}"}
    try:
        response = redirects.follow(order, delivery, asked)
        if response is None or delivery.problem:
            return Beginning(_about(order, delivery.problem))
        with response:
            status = response.status_code
            wanted = _ASKED_BYTES if status in (200, 206) else identify.HEAD_BYTES
            start = bytes(response.raw.read(wanted, decode_content=False))
            if status not in (200, 206):
                why = responses.from_response(
                    status, response.headers, start, url=response.url, route=delivery.route
                )
                return Beginning(_about(order, why))
            return _judged(order.file, start, response.headers.get("Content-Range", ""), status)
    # requests' and sockets' exceptions are OSErrors; reading the raw body raises urllib3's own.
    # A Location that is no URL is a ValueError.
    except (
        OSError,
        ValueError,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
    ) as error:
        why = second_look.from_exception(
            error, url=order.url, route=delivery.route, timeout_s=network.connect_timeout_s
        )
        return Beginning(_about(order, why))


def clock_skew_s(date: str, now_s: float) -> float | None:
    """Seconds that `now_s` is ahead of a Date header; None where that cannot be read."""
    sent_s = request.moment_s(date)
    return None if sent_s is None else round(now_s - sent_s, 1)


def header_of(file: catalog.SourceFile) -> bytes:
    """The first bytes of the published .gz, as far as they are known: at least gzip's magic."""
    if not file.gzip_mtime:
        return gzip_file.MAGIC
    name = file.payload_name.encode() + b"\0"
    return gzip_file.MAGIC + b"\x08\x08" + struct.pack("<I", file.gzip_mtime) + b"\x00\x03" + name


def _judged(file: artifacts.Artifact, start: bytes, content_range: str, status: int) -> Beginning:
    is_ranged = status == 206
    size = content_range.rpartition("/")[2]
    if not isinstance(file, catalog.SourceFile):
        return _judged_by_size(file, start, size, is_ranged=is_ranged)
    if start.startswith(header_of(file)):
        odd = is_ranged and size.isdigit() and file.size_bytes and int(size) != file.size_bytes
        note = f"{file.name} has {int(size):,} bytes there, not {file.size_bytes:,}" if odd else ""
        return Beginning(None, is_ranged, note)
    if start.startswith(gzip_file.MAGIC):
        return Beginning(None, is_ranged, f"{file.name} is re-compressed there")
    if identify.idx_shape(start) == file.shape:
        return Beginning(None, is_ranged, f"{file.name} is decompressed there")
    if page := _page(file, start):
        return page
    seen = f"{file.name} {identify.beginning(start)}; gzip starts with 1f 8b"
    return Beginning(causes.named("wrong-content" if start else "truncated", seen))


def _judged_by_size(
    file: artifacts.Artifact, start: bytes, size: str, *, is_ranged: bool
) -> Beginning:
    """Judges a file of which only size and digest are known: its first bytes prove nothing."""
    if page := _page(file, start):
        return page
    if is_ranged and size.isdigit() and int(size) != file.size_bytes:
        seen = f"{file.name} has {int(size):,} bytes there, not {file.size_bytes:,}"
        return Beginning(causes.named("wrong-content", seen))
    return Beginning(None, is_ranged)


def _page(file: artifacts.Artifact, start: bytes) -> Beginning | None:
    """What a web page or error document says in place of the file; None if `start` is neither."""
    if not identify.is_document(start):
        return None
    why = responses.from_response(200, {}, start, url="", route=settings.Route())
    return Beginning(causes.named(why.cause, f"{file.name}: a web page came instead"))


def _about(order: request.Request, why: causes.Explanation | None) -> causes.Explanation:
    found = why or causes.named("redirect-loop")
    return dataclasses.replace(found, evidence=f"{order.file.name}: {found.evidence}")
