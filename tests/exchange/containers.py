"""Every container that people hold the data in, made from a stand-in or from the real files."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import lzma
import pathlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from fmnist_tfds import catalog
from fmnist_tfds.exchange.adopt import row_order
from fmnist_tfds.formats import idx

NAMES = tuple(file.name for file in catalog.FASHION_MNIST.files)


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set as arrays, with the catalog that pins it and the canonical .gz of each file."""

    dataset: catalog.Catalog
    table: row_order.RowTable
    gz: dict[str, bytes]
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.x_train, self.y_train, self.x_test, self.y_test

    @property
    def payloads(self) -> dict[str, bytes]:
        return {n: idx.encode(a) for n, a in zip(NAMES, self.arrays, strict=True)}

    @property
    def splits(self):
        return (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test))


def _table(x_train, x_test):
    return row_order.RowTable.of_images(np.concatenate([x_train, x_test]).reshape(-1, 784))


@pytest.fixture(scope="session")
def standin() -> Data:
    """120 + 40 smooth images under a catalog of their own."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (160, 28, 28), np.uint8)
    images[:, :4] = 0
    labels = (np.arange(160) * 7 % 10).astype(np.uint8)
    arrays = (images[:120], labels[:120], images[120:], labels[120:])
    files, gz = [], {}
    for file, array in zip(catalog.FASHION_MNIST.files, arrays, strict=True):
        payload = idx.encode(array)
        gz[file.name] = gzip.compress(payload, 6, mtime=file.gzip_mtime)
        files.append(
            dataclasses.replace(
                file,
                shape=array.shape,
                size_bytes=len(gz[file.name]),
                sha256=hashlib.sha256(gz[file.name]).hexdigest(),
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        )
    dataset = dataclasses.replace(
        catalog.FASHION_MNIST, name="stand-in", title="the stand-in", files=tuple(files)
    )
    return Data(dataset, _table(arrays[0], arrays[2]), gz, *arrays)


@pytest.fixture(scope="session")
def real(real_data) -> Data:
    """The real data, decoded."""
    gz = {name: (real_data / name).read_bytes() for name in NAMES}
    arrays = [
        idx.decode(gzip.decompress(gz[file.name]), file.shape)
        for file in catalog.FASHION_MNIST.files
    ]
    table = row_order.shipped(catalog.FASHION_MNIST)
    assert table is not None
    return Data(catalog.FASHION_MNIST, table, gz, *arrays)


def png(image: np.ndarray, *, filters: bool = True) -> bytes:
    """An 8-bit grey PNG; with `filters` every filter type is used in turn."""
    side, width = image.shape
    lines = b""
    above = np.zeros(width + 1, np.int16)
    for y in range(side):
        line = np.concatenate([[0], image[y]]).astype(np.int16)
        a, b, c, kind = line[:-1], above[1:], above[:-1], y % 5 if filters else 0
        p = a + b - c
        pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
        paeth = np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))
        guess = (np.zeros_like(a), a, b, (a + b) // 2, paeth)[kind]
        lines += bytes([kind]) + (line[1:] - guess).astype(np.uint8).tobytes()
        above = line
    return png_of_lines(lines, width, side)


def png_of_lines(lines: bytes, width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines, 1))
        + chunk(b"IEND", b"")
    )


def quick_pngs(images: np.ndarray) -> list[bytes]:
    """Unfiltered PNGs of many images."""
    lines = np.zeros((len(images), 28, 29), np.uint8)
    lines[:, :, 1:] = images
    return [png_of_lines(line.tobytes(), 28, 28) for line in lines]


def csv_text(x: np.ndarray, y: np.ndarray, *, header: bool = True, label_last=False) -> bytes:
    """Kaggle's table, or a headerless one, or (label last) the body of an ARFF."""
    import pyarrow
    from pyarrow import csv

    flat = x.reshape(len(x), -1)
    columns = [y, *flat.T] if not label_last else [*flat.T, y]
    names = ["label", *(f"pixel{i + 1}" for i in range(784))]
    sink = io.BytesIO()
    table = pyarrow.table([pyarrow.array(np.ascontiguousarray(c)) for c in columns], names=names)
    csv.write_csv(
        table, sink, csv.WriteOptions(include_header=header, quoting_style="none", batch_size=4096)
    )
    return sink.getvalue()


def arff_text(data: Data) -> bytes:
    lines = ["% OpenML 40996", "@RELATION Fashion-MNIST", ""]
    lines += [f"@ATTRIBUTE pixel{i + 1} REAL" for i in range(784)]
    lines += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "", "@DATA", ""]
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    return "\n".join(lines).encode() + csv_text(x, y, header=False, label_last=True)


def shuffled(x: np.ndarray, y: np.ndarray, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order], y[order]


def parquet_file(path: pathlib.Path, x: np.ndarray, y: np.ndarray) -> None:
    import pyarrow
    from pyarrow import parquet

    images = [{"bytes": p, "path": None} for p in quick_pngs(x)]
    table = pyarrow.table({"image": images, "label": pyarrow.array(y.astype(np.int64))})
    parquet.write_table(table, path)


def write_all(root: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zip_of(path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: pathlib.Path, files: dict[str, bytes], mode: str) -> pathlib.Path:
    options = {"w:gz": {"compresslevel": 1}, "w:xz": {"preset": 0}}.get(mode, {})
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _raw(data: Data, prefix: str = "") -> dict[str, bytes]:
    return {prefix + n.removesuffix(".gz"): p for n, p in data.payloads.items()}


def _npz(data: Data, root: pathlib.Path, names: tuple[str, ...], *, dtype=None, shape=None):
    arrays = dict(zip(names, data.arrays, strict=True))
    for name, array in arrays.items():
        if array.ndim == 3:
            arrays[name] = array.reshape(len(array), *(shape or (28, 28)))
            if dtype:
                arrays[name] = (arrays[name] / 255).astype(dtype)
        elif dtype:
            arrays[name] = array.astype(np.int64)
    np.savez(root / "data.npz", **arrays)
    return root / "data.npz"


def _npz_shuffled(data: Data, root: pathlib.Path) -> pathlib.Path:
    (a, b), (c, d) = shuffled(data.x_train, data.y_train), shuffled(data.x_test, data.y_test)
    np.savez(root / "data.npz", trainX=a, trainY=b, testX=c, testY=d)
    return root / "data.npz"


def _csv_pair(data: Data, root: pathlib.Path) -> pathlib.Path:
    for split, x, y in data.splits:
        (root / f"fashion-mnist_{split}.csv").write_bytes(csv_text(*shuffled(x, y)))
    return root


def _csv_floats(data: Data, root: pathlib.Path) -> pathlib.Path:
    for split, x, y in data.splits:
        text = csv_text(x, y, header=False).replace(b",", b".0, ").replace(b"\n", b".0\r\n")
        (root / f"{split}.csv").write_bytes(text)
    return root


def _parquet(data: Data, root: pathlib.Path) -> pathlib.Path:
    """The hub's cache: snapshots hold links into blobs."""
    blobs, snapshot = root / "blobs", root / "snapshots" / "531be5e" / "fashion_mnist"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for split, x, y in data.splits:
        parquet_file(blobs / f"{split}-blob", x, y)
        (snapshot / f"{split}-00000-of-00001.parquet").symlink_to(blobs / f"{split}-blob")
    return root


def _png_files(data: Data, *, by_name: bool) -> dict[str, bytes]:
    files = {}
    for split, x, y in data.splits:
        for i, (image, label) in enumerate(zip(quick_pngs(x), y, strict=True)):
            # The names carry no order: a digest of the image stands for lost numbering.
            name = hashlib.md5(image).hexdigest()[:10]
            folder = data.dataset.class_names[label].replace("/", "-") if by_name else str(label)
            files[f"{split}/{folder}/{name}-{i % 7}.png"] = image
    return files


def _tfds_cache(data: Data, root: pathlib.Path) -> pathlib.Path:
    for i, (name, content) in enumerate(data.gz.items()):
        place = root / "downloads" / "fashion_mnist" / f"fashion-mnist_{name[:12]}AbC{i}dE.gz"
        write_all(root, {str(place.relative_to(root)): content})
        place.with_suffix(".gz.INFO").write_text('{"dataset_names": ["fashion_mnist"]}')
    return root


def _mix(data: Data, root: pathlib.Path) -> pathlib.Path:
    """Images from an npz, training labels as IDX, test labels inside a zip."""
    np.savez(root / "images.npz", a=data.x_train, b=data.x_test)
    raw = _raw(data)
    (root / "train-labels-idx1-ubyte").write_bytes(raw["train-labels-idx1-ubyte"])
    zip_of(root / "labels.zip", {"t10k-labels": raw["t10k-labels-idx1-ubyte"]})
    return root


MAKERS: dict[str, Callable[[Data, pathlib.Path], pathlib.Path]] = {
    "four gz": lambda d, r: write_all(r, d.gz),
    "keras cache": lambda d, r: write_all(
        r, {f"datasets/fashion-mnist/{n}": g for n, g in d.gz.items()}
    ),
    "tfds cache": _tfds_cache,
    "torchvision raw": lambda d, r: write_all(r, _raw(d, "FashionMNIST/raw/")),
    "mindspore": lambda d, r: write_all(r, _raw(d)),
    "recompressed gz": lambda d, r: write_all(
        r, {n: gzip.compress(p, 1) for n, p in d.payloads.items()}
    ),
    "gzip twice": lambda d, r: write_all(r, {n: gzip.compress(g, 1) for n, g in d.gz.items()}),
    "xz and bz2": lambda d, r: write_all(
        r,
        {
            n + (".xz" if "images" in n else ".bz2"): (
                lzma.compress(p, preset=0) if "images" in n else bz2.compress(p)
            )
            for n, p in d.payloads.items()
        },
    ),
    "zip of gz": lambda d, r: zip_of(r / "a.zip", {f"fashion/{n}": g for n, g in d.gz.items()}),
    "zip of idx": lambda d, r: zip_of(r / "a.zip", _raw(d, "data/")),
    "tar": lambda d, r: tar_of(r / "a.tar", d.gz, "w"),
    "tar.gz": lambda d, r: tar_of(r / "a.tar.gz", _raw(d), "w:gz"),
    "tar.xz": lambda d, r: tar_of(r / "a.tar.xz", _raw(d), "w:xz"),
    "npz keras": lambda d, r: _npz(d, r, ("x_train", "y_train", "x_test", "y_test")),
    "npz other names": lambda d, r: _npz(
        d, r, ("train_images", "train_labels", "test_images", "test_labels"), shape=(784,)
    ),
    "npz floats": lambda d, r: _npz(
        d, r, ("arr_0", "arr_1", "arr_2", "arr_3"), dtype=np.float32, shape=(28, 28, 1)
    ),
    "npz shuffled": _npz_shuffled,
    "kaggle csv": _csv_pair,
    "csv of floats": _csv_floats,
    "arff": lambda d, r: write_all(r, {"Fashion-MNIST.arff": arff_text(d)}),
    "arff.gz": lambda d, r: write_all(r, {"Fashion-MNIST.arff.gz": gzip.compress(arff_text(d), 1)}),
    "hub parquet": _parquet,
    "png tree": lambda d, r: write_all(r, _png_files(d, by_name=False)),
    "png zip": lambda d, r: zip_of(r / "a.zip", _png_files(d, by_name=True)),
    "mix": _mix,
}
