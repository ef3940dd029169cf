"""The forms that the data comes in: one row each, and how a leaf's form is found.

A row names the form, what it begins with or how else it is told, and what becomes of it: it holds
other leaves, is read, or is refused with the next step. A new form is one row and one reader.

Source: RFC 1952 (gzip), the xz, bzip2, zip, tar, PNG, NumPy, Parquet and Arrow signatures; those of
the refused forms are in https://en.wikipedia.org/wiki/List_of_file_signatures.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Generator
from typing import IO, TYPE_CHECKING, Any

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import archives, columnar, npy, png_files, records, tables, tar
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import CHUNK, Leaf, Limits, spool
from fmnist_tfds.formats import gzip_file, identify

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_XZ_MEMORY = 256 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Adopting:
    """What one adoption has found so far.

    Attributes:
        found: the proofs and placed rows.
        pairing: arrays of images and labels that wait for each other.
        pngs: PNG files, which are offered many at once.
        limits: what may be unpacked.
    """

    found: Gathering
    pairing: npy.Pairing
    pngs: png_files.PngTree
    limits: Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """One form.

    Attributes:
        name: what messages and receipts call it.
        starts: the first bytes, any of them.
        fits: tells it where no first bytes do.
        members: the leaves that it holds.
        read: offers what it holds.
        refusal: what it is, and what to do with it, where it is not read.
    """

    name: str
    starts: tuple[bytes, ...] = ()
    fits: Callable[[Leaf], bool] | None = None
    members: Callable[[Leaf, Limits], Generator[Leaf]] | None = None
    read: Callable[[Leaf, Adopting], None] | None = None
    refusal: str = ""


def of(leaf: Leaf) -> Format:
    """The form of a leaf, by what it holds; one without a name where no row fits."""
    text = leaf.head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for form in FORMATS:
        if leaf.head.startswith(form.starts) or (form.refusal and text.startswith(form.starts)):
            return form
        if form.fits is not None and form.fits(leaf):
            return form
    return _UNKNOWN


def taken() -> str:
    """The names of the forms that are read, for people."""
    return ", ".join(form.name for form in FORMATS if not form.refusal)


def refusal(leaf: Leaf) -> str:
    """What a leaf is that is not read, for people."""
    if not leaf.size:
        return "empty"
    return of(leaf).refusal or f"nothing known here (it starts with {leaf.head[:12]!r})"


def _unpacked(
    opened: Callable[[IO[bytes]], IO[bytes]], name: str
) -> Callable[[Leaf, Limits], Generator[Leaf]]:
    """The one leaf inside a compressed one.

    Raises:
        ArchiveError: it unpacks to more than the limit.
        ContentError: the stream is damaged or cut short.
    """
    # The engines raise these for a damaged or short stream; OSError: bz2 and a bad disk.
    damaged = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)

    def members(leaf: Leaf, limits: Limits) -> Generator[Leaf]:
        gz = leaf.read() if name == "gzip" and leaf.size in limits.published_sizes else None
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(leaf.open())
            form = leaf.inside(name).form
            try:
                stream = stack.enter_context(opened(raw))
                inner = stack.enter_context(
                    spool(stream, _inner_name(leaf.name), leaf.group, form, limits)
                )
            except damaged as error:
                raise errors.ContentError(
                    f"{leaf.name}: the {name} stream is damaged or cut short: {error}"
                ) from error
            yield dataclasses.replace(inner, gz=gz)

    return members


def _inner_name(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path of this disk
    return stem if suffix.lower() in (".gz", ".xz", ".bz2") else name


class _Xz(io.RawIOBase):
    """An .xz stream whose dictionary may not take all memory; LZMAFile has no such limit."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._engine = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._engine.eof:
            data = self._raw.read(CHUNK) if self._engine.needs_input else b""
            out = self._engine.decompress(data, len(view))
            if out:
                view[: len(out)] = out
                return len(out)
            if not data and self._engine.needs_input:
                raise EOFError("the xz stream is cut short")
        if self._engine.unused_data.strip(b"\x00") or self._raw.read(1):
            raise lzma.LZMAError("data after the end of the xz stream")
        return 0


def _buffered(kind: Callable[[IO[bytes]], io.RawIOBase]) -> Callable[[IO[bytes]], IO[bytes]]:
    return lambda raw: io.BufferedReader(kind(raw), CHUNK)


def _read_idx(leaf: Leaf, work: Adopting) -> None:
    payload = leaf.read()
    published = [f.sha256 for f in work.found.dataset.files]
    gz = leaf.gz if leaf.gz and hashlib.sha256(leaf.gz).hexdigest() in published else None
    if work.found.offer_payload(payload, leaf.name, leaf.form, gz=gz) is None:
        if known := identify.impostor(payload, work.found.dataset):
            raise errors.ContentError(f"{leaf.name}: this is {known.title}")
        work.pairing.offer(npy.read_idx(leaf, payload), leaf)


def _read_npy(leaf: Leaf, work: Adopting) -> None:
    work.pairing.offer(npy.read_npy(leaf, work.limits.stream_bytes), leaf)


def _offered(leaf: Leaf, work: Adopting, table: tables.Table) -> None:
    """Offers a table: what it lacks may lie beside it."""
    if table.images is None or table.labels is None:
        values: Any = table.images if table.labels is None else table.labels
        work.pairing.offer(values, leaf)
        return
    positions = work.found.offer_images(table.images, leaf.name, leaf.form)
    work.found.offer_labels(table.labels, leaf.name, leaf.form, positions)


FORMATS: tuple[Format, ...] = (
    Format("gzip", (gzip_file.MAGIC,), members=_unpacked(_buffered(gzip_file.Reader), "gzip")),
    Format("xz", (b"\xfd7zXZ\x00",), members=_unpacked(_buffered(_Xz), "xz")),
    Format("bzip2", (b"BZh",), members=_unpacked(bz2.BZ2File, "bzip2")),
    Format("zip", (b"PK\x03\x04", b"PK\x05\x06"), members=archives.of_zip),
    Format("tar", fits=lambda leaf: leaf.head[257:262] == b"ustar", members=tar.of_tar),
    Format("IDX", (b"\x00\x00\x08",), read=_read_idx),
    Format("npy", (b"\x93NUMPY",), read=_read_npy),
    Format(
        "parquet",
        (b"PAR1",),
        read=lambda leaf, work: _offered(
            leaf, work, columnar.read_parquet(leaf, work.found, work.limits)
        ),
    ),
    Format(
        "Arrow",
        (b"ARROW1", b"\xff\xff\xff\xff"),
        read=lambda leaf, work: _offered(leaf, work, columnar.read_arrow(leaf, work.found)),
    ),
    Format("PNG", (png_files.SIGNATURE,), read=lambda leaf, work: work.pngs.add(leaf)),
    Format(
        "TFRecord",
        fits=records.is_tfrecord,
        read=lambda leaf, work: _offered(leaf, work, records.read_tfrecord(leaf, work.found)),
    ),
    Format("", (identify.LFS_POINTER,), refusal="a Git LFS pointer, not the file it names"),
    Format(
        "",
        fits=lambda leaf: identify.page_title(leaf.head) is not None,
        refusal="an HTML page",
    ),
    Format("", (b"<?xml",), refusal="an XML document"),
    Format(
        "",
        (b"\xff\xd8\xff",),
        refusal="a JPEG image, whose pixels are no longer the original ones; ask for PNG files",
    ),
    Format(
        "", (b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*"), refusal="an image that is no PNG"
    ),
    Format(
        "",
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        refusal="a Python pickle, which could run code; save the arrays with numpy.savez",
    ),
    Format("", (b"7z\xbc\xaf\x27\x1c",), refusal="a 7z archive; unpack it first: 7z x FILE"),
    Format("", (b"Rar!\x1a\x07",), refusal="a RAR archive; unpack it first: unrar x FILE"),
    Format("", (b"\x28\xb5\x2f\xfd",), refusal="zstd; unpack it first: zstd -d FILE"),
    Format("", (b"\x04\x22\x4d\x18",), refusal="lz4; unpack it first: lz4 -d FILE"),
    Format("", (b"\x1f\x9d",), refusal="compress (.Z); unpack it first: gzip -d FILE"),
    Format(
        "",
        (b"\x89HDF\r\n\x1a\n",),
        refusal="HDF5, which is not read here; save its arrays with h5py and numpy.savez",
    ),
    Format(
        "",
        (b"MATLAB ",),
        refusal="a MATLAB file, which is not read here; save its arrays with scipy.io.loadmat "
        "and numpy.savez",
    ),
    Format("", (b"SQLite format 3",), refusal="an SQLite database; export its table as CSV"),
    Format(
        "",
        (b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f",),
        refusal="ArrayRecord or Riegeli, which is not read here; prepare it as TFRecord",
    ),
    Format(
        "ARFF",
        fits=tables.is_arff,
        read=lambda leaf, work: _offered(leaf, work, tables.read_arff(leaf, work.found)),
    ),
    Format(
        "CSV",
        fits=tables.is_csv,
        read=lambda leaf, work: _offered(leaf, work, tables.read_csv(leaf, work.found)),
    ),
)
_UNKNOWN = Format("")
