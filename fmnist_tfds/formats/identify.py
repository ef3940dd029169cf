"""Identifies a file: genuine, genuine but compressed otherwise, a known impostor, or not the data.

Looked at in this order: hash of the .gz, hash of the payload under up to three layers of gzip,
known impostors, HTML and other documents, then truncated, corrupt, unknown. Never decompresses
more than the largest known payload and one byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
import re
import struct

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.formats import gzip_file

_LAYERS = 3
_MAGIC_BYTES = 4
_TEXT = frozenset(range(0x20, 0x7F)) | set(b"\t\r\n")
LFS_POINTER = b"version https://git-lfs"
_IDX_MAGIC = b"\0\0\x08"
# So much of a file is enough to recognise what is not data.
HEAD_BYTES = 8192
_HTML = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*|<\?xml[^>]*\?>\s*)*<(?:!doctype html|html|head)\b",
    re.IGNORECASE | re.DOTALL,
)
_CLOUD_ERROR = re.compile(rb"<Error\b[^>]*>.*?<Code>\s*([^<]+?)\s*</Code>", re.DOTALL)
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What a file is.

    Attributes:
        verdict: "genuine", "genuine-payload", "impostor:<id>", "html", "lfs-pointer",
            "cloud-error", "truncated", "corrupt" or "unknown".
        detail: the same in words, one line.
        file: the catalog's file that it is, or None.
    """

    verdict: str
    detail: str
    file: artifacts.Artifact | None

    @property
    def is_genuine(self) -> bool:
        """True if the payload is proved, whatever it is wrapped in."""
        return self.verdict in ("genuine", "genuine-payload")

    def is_file(self, file: artifacts.Artifact) -> bool:
        """True if this is a proved copy of that very file."""
        return self.is_genuine and self.file == file


def identify(
    path: pathlib.Path,
    *,
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
    expected: artifacts.Artifact | None = None,
) -> Identity:
    """What the file at `path` is.

    Args:
        path: any regular file.
        dataset: what it may be.
        expected: the file it should be; `detail` then says so where it is another of the four.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(dataset, catalog.Catalog):
        assert expected is None or isinstance(expected, catalog.SourceFile)
        return _examine(path, dataset, expected)[0]
    assert expected is not None, "an artifact is identified by what it should be"
    return _pinned(path, expected)


def payload(
    path: pathlib.Path,
    expected: catalog.SourceFile,
    *,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
) -> bytes:
    """The proved, decompressed IDX file in `path`.

    Raises:
        ContentError: it is not genuine, or not the file expected.
        OSError: it cannot be read.
    """
    identity, data = _examine(path, dataset, expected)
    if not identity.is_file(expected):
        raise errors.ContentError(f"{path}: expected {expected.name}, got {identity.detail}")
    if identity.verdict == "genuine":
        data = gzip_file.gunzip(data, limit_bytes(dataset)).data
    return data


def limit_bytes(
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST, file: artifacts.Artifact | None = None
) -> int:
    """The most bytes that `file` (any file, if None) can have in any wrapper: stored gzip adds
    5 bytes per 65,535, headers little; three layers of it are still below 1 % and 64 KiB."""
    files = (file,) if file else dataset.files
    return max(f.largest_bytes for f in files) * 101 // 100 + (1 << 16)


def starts_with(path: pathlib.Path, file: artifacts.Artifact) -> bool:
    """True if the file at `path` begins with `file` as it is pinned."""
    digest, left = hashlib.sha256(), file.size_bytes
    with path.open("rb") as stream:
        while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest() == file.sha256


def head_of(path: pathlib.Path) -> bytes:
    """The first bytes of a file, at most HEAD_BYTES.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def is_document(head: bytes) -> bool:
    """True if a file that begins with `head` is a web page, an error document or a pointer."""
    return _document(head) is not None


def may_begin(head: bytes, file: artifacts.Artifact) -> bool:
    """True if `head` may be the beginning of `file`, in a form that is accepted."""
    if isinstance(file, catalog.SourceFile):
        return head.startswith((gzip_file.MAGIC, _IDX_MAGIC))
    return bool(head) and not is_document(head)


def impostor(data: bytes, dataset: artifacts.ArtifactSet) -> artifacts.Impostor | None:
    """The known other data set that these bytes are a file of, or None."""
    digests = {
        (name, hashlib.new(name, data, usedforsecurity=False).hexdigest())
        for name in {name for known in dataset.impostors for name, _ in known.digests}
    }
    return next((known for known in dataset.impostors if digests & known.digests), None)


def _pinned(path: pathlib.Path, expected: artifacts.Artifact) -> Identity:
    """Identifies a file by its size and digest alone; read in pieces, since it may be large."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    if digest == expected.sha256:
        return Identity("genuine", f"{expected.name}, of the pinned digest", expected)
    if document := _document(head):
        return document
    sizes = f"{size:,} of {expected.size_bytes:,} bytes"
    if size < expected.size_bytes:
        return Identity("truncated", f"the file has {sizes}", None)
    if size == expected.size_bytes:
        return Identity("corrupt", f"{sizes}, with another digest than the pinned one", None)
    return Identity("unknown", f"the file {beginning(head)} and has {sizes}", None)


def _examine(
    path: pathlib.Path, dataset: catalog.Catalog, expected: catalog.SourceFile | None
) -> tuple[Identity, bytes]:
    """The identity, and the innermost bytes that were proved (the .gz itself if canonical)."""
    limit = limit_bytes(dataset)
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    digest = hashlib.sha256(data).hexdigest()
    for file in dataset.files:
        if file.sha256 and digest == file.sha256:
            return _found("genuine", file, "canonical .gz", dataset, expected), data
    document = _document(data)
    if document:
        return document, data
    if len(data) > limit:
        size = f"{path.stat().st_size:,} bytes, more than any file of {dataset.title} can have"
        return Identity("unknown", size, None), data
    if not data:
        return Identity("truncated", "an empty file", None), data
    wrapper, problem, layers = "", "", 0
    while (known := impostor(data, dataset)) is None:
        digest = hashlib.sha256(data).hexdigest()
        for file in dataset.files:
            if digest == file.payload_sha256:
                how = wrapper or "decompressed"
                return _found("genuine-payload", file, how, dataset, expected), data
        if not data.startswith(gzip_file.MAGIC) or layers == _LAYERS or problem:
            break
        layers += 1
        wrapper = "re-compressed" if layers == 1 else f"gzip, {layers} layers"
        unpacked = gzip_file.gunzip(data, limit)
        data, problem = unpacked.data, unpacked.problem
        if document := _document(data):
            return dataclasses.replace(document, detail=f"{document.detail}, compressed"), data
    if known is not None:
        return Identity(known.verdict, f"{known.title}, not {dataset.title}", None), data
    return _damaged(data, problem, layers, dataset, expected), data


def _found(
    verdict: str,
    file: catalog.SourceFile,
    how: str,
    dataset: catalog.Catalog,
    expected: catalog.SourceFile | None,
) -> Identity:
    detail = f"{file.name} of {dataset.title}, {how}"
    if expected is not None and file != expected:
        detail = (
            f"{file.split} {file.kind} ({file.name}) where {expected.split} {expected.kind} belong"
        )
    return Identity(verdict, detail, file)


def beginning(data: bytes) -> str:
    """What an unknown file begins with, for people.

    Text is not quoted: a server may echo a token there, and masking cannot find a piece of one.
    """
    head = data[:_MAGIC_BYTES]
    if not data.strip():
        return "is empty"
    if all(byte in _TEXT for byte in data[:64]):
        return "is text"
    return f"starts with the bytes {head.hex(' ')}"


def page_title(head: bytes) -> str | None:
    """The title of the HTML page that begins with `head`, on one line, "" where it has none;
    None if this is no HTML."""
    if not _HTML.match(head):
        return None
    title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title>", head, re.IGNORECASE | re.DOTALL)
    return " ".join(title.group(1).decode("utf-8", "replace").split()) if title else ""


def _document(data: bytes) -> Identity | None:
    head = data[:HEAD_BYTES]
    if found := _CLOUD_ERROR.search(head):
        code = found.group(1)[:60].decode("utf-8", "replace")
        return Identity("cloud-error", f"an error document of an object store: {code}", None)
    if (title := page_title(head)) is not None:
        called = f" titled {title[:80]!r}" if title else ""
        return Identity("html", f"a web page{called}", None)
    if head.lstrip().startswith(LFS_POINTER):
        return Identity("lfs-pointer", "a Git LFS pointer instead of the file", None)
    return None


def _damaged(
    data: bytes,
    problem: str,
    layers: int,
    dataset: catalog.Catalog,
    expected: catalog.SourceFile | None,
) -> Identity:
    where = "the decompressed file" if layers else "the file"
    if problem == "bomb":
        return Identity(
            "unknown", f"gzip that expands beyond any file of {dataset.title}; refused", None
        )
    if problem == "truncated":
        wanted = f" of {expected.payload_bytes:,}" if expected else ""
        detail = f"the gzip stream ends early, after {len(data):,}{wanted} decompressed bytes"
        return Identity("truncated", detail, None)
    if problem:
        return Identity("corrupt", problem, None)
    shape = idx_shape(data)
    if shape is None:
        return Identity("unknown", f"{where} {beginning(data)}", None)
    promised = 4 + 4 * len(shape) + math.prod(shape)
    if len(data) < promised:
        return Identity("truncated", f"{where} has {len(data):,} of {promised:,} bytes", None)
    kind = "corrupt" if shape in [f.shape for f in dataset.files] else "unknown"
    return Identity(
        kind, f"IDX of dimensions {shape}, {len(data):,} bytes, with a digest not known", None
    )


def idx_shape(data: bytes) -> tuple[int, ...] | None:
    """The dimensions that an IDX header of unsigned bytes states; None if `data` has no such."""
    if len(data) < 8 or data[:3] != _IDX_MAGIC or data[3] not in (1, 3):
        return None
    rank = data[3]
    if len(data) < 4 + 4 * rank:
        return None
    return struct.unpack_from(f">{rank}I", data, 4)
