"""Bad input is refused in one sentence; nothing is written outside the target or half-made."""

from __future__ import annotations

import errno
import functools
import gzip
import io
import lzma
import os
import pathlib
import stat
import tarfile
import zipfile

import containers as made
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import adopt, archives


def _zip(path: pathlib.Path, *names: str, mode: int = 0, twice: bool = False) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"content")
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(names[0], b"other")
    return path


def _tar(path: pathlib.Path, name: str, kind: bytes = tarfile.REGTYPE, *, link="") -> pathlib.Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil"))
    return path


def _bomb(path: pathlib.Path, head: bytes, opener) -> pathlib.Path:
    # 24 MB of zeros pack into a few kB; the stand-in may unpack to 18 MB in any form.
    with opener(path, "wb") as stream:
        stream.write(head)
        for _ in range(24):
            stream.write(bytes(1 << 20))
    return path


def _zip_bomb(path: pathlib.Path) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(24 << 20))
    return path


def _nested(data, root: pathlib.Path) -> pathlib.Path:
    content = data.gz["t10k-labels-idx1-ubyte.gz"]
    for _ in range(9):
        content = gzip.compress(content, 1)
    (root / "deep.gz").write_bytes(content)
    return root / "deep.gz"


def _npz_pickle(root: pathlib.Path) -> pathlib.Path:
    np.savez(root / "a.npz", x=np.array([{"a": 1}, None], dtype=object))
    return root / "a.npz"


ARCHIVES = {
    "zip traversal": (lambda d, r: _zip(r / "a.zip", "../x"), "points outside"),
    "zip backslash": (lambda d, r: _zip(r / "a.zip", "a\\..\\..\\x"), "points outside"),
    "zip absolute": (lambda d, r: _zip(r / "a.zip", "/etc/x"), "absolute name"),
    "zip drive": (lambda d, r: _zip(r / "a.zip", "C:/x"), "absolute name"),
    "zip link": (lambda d, r: _zip(r / "a.zip", "x", mode=stat.S_IFLNK), "symbolic link"),
    "zip device": (lambda d, r: _zip(r / "a.zip", "x", mode=stat.S_IFCHR), "character device"),
    "zip duplicate": (lambda d, r: _zip(r / "a.zip", "x", "y", twice=True), "stands 2 times"),
    "zip same place": (lambda d, r: _zip(r / "a.zip", "x", "./x"), "stands 2 times"),
    "zip same place on Windows": (lambda d, r: _zip(r / "a.zip", "x/y", "x\\y"), "stands 2 times"),
    "zip bomb": (lambda d, r: _zip_bomb(r / "a.zip"), "takes in any form"),
    "tar traversal": (lambda d, r: _tar(r / "a.tar", "../../x"), "points outside"),
    "tar absolute": (lambda d, r: _tar(r / "a.tar", "/tmp/x"), "absolute name"),
    "tar link": (
        lambda d, r: _tar(r / "a.tar", "x", tarfile.SYMTYPE, link="/etc/passwd"),
        "symbolic link",
    ),
    "tar hard link": (lambda d, r: _tar(r / "a.tar", "x", tarfile.LNKTYPE, link="y"), "hard link"),
    "tar device": (lambda d, r: _tar(r / "a.tar", "x", tarfile.CHRTYPE), "character device"),
    "tar pipe": (lambda d, r: _tar(r / "a.tar", "x", tarfile.FIFOTYPE), "named pipe"),
    "gzip bomb": (lambda d, r: _bomb(r / "a.gz", b"zeros", gzip.open), "takes in any form"),
    "gzip bomb behind IDX": (
        lambda d, r: _bomb(r / "a.gz", b"\0\0\x08\x03", gzip.open),
        "more than 94,096 bytes",
    ),
    "xz bomb": (
        lambda d, r: _bomb(r / "a.xz", b"zeros", functools.partial(lzma.open, preset=0)),
        "takes in any form",
    ),
    "nesting": (_nested, "nested more than"),
    "npz of pickles": (lambda d, r: _npz_pickle(r), "pickled Python objects"),
}


def _file(name: str, content: bytes):
    def make(_, root: pathlib.Path) -> pathlib.Path:
        (root / name).write_bytes(content)
        return root / name

    return make


def _csv(change):
    """A CSV of the training rows, changed as text lines."""

    def make(data, root: pathlib.Path) -> pathlib.Path:
        lines = made.csv_text(data.x_train, data.y_train).splitlines()
        change(lines)
        (root / "train.csv").write_bytes(b"\n".join(lines) + b"\n")
        return root / "train.csv"

    return make


def _label_inside(line: bytes) -> bytes:
    cells = line.replace(b"label", b"x").split(b",")
    return b",".join([b"255", *cells[1:300], cells[0], *cells[300:784], b"17"][:785])


def _cell(row: int, column: int, value: bytes):
    def change(lines: list[bytes]) -> None:
        cells = lines[row].split(b",")
        cells[column] = value
        lines[row] = b",".join(cells)

    return change


def _png_tree(image: bytes):
    return _file("7.png", image)


def _npz(**arrays):
    def make(_, root: pathlib.Path) -> pathlib.Path:
        np.savez(root / "a.npz", **arrays)
        return root / "a.npz"

    return make


def _parquet(change):
    def make(data, root: pathlib.Path) -> pathlib.Path:
        columns = {
            "image": [{"bytes": p, "path": None} for p in made.quick_pngs(data.x_train)],
            "label": data.y_train.tolist(),
        }
        change(columns)
        parquet.write_table(pyarrow.table(columns), root / "a.parquet")
        return root / "a.parquet"

    return make


def _altered(data, root: pathlib.Path) -> pathlib.Path:
    x = data.x_train.copy()
    x[5, 0, 0] ^= 1
    np.savez(root / "a.npz", x=x, y=data.y_train, u=data.x_test, v=data.y_test)
    return root / "a.npz"


def _wrong_label(data, root: pathlib.Path) -> pathlib.Path:
    y = data.y_train.copy()
    y[3] = (y[3] + 1) % 10
    np.savez(root / "a.npz", x=data.x_train, y=y, u=data.x_test, v=data.y_test)
    return root / "a.npz"


def _half(data, root: pathlib.Path) -> pathlib.Path:
    np.savez(root / "a.npz", x=data.x_train[:60], y=data.y_train[:60])
    return root / "a.npz"


def _cut(data, root: pathlib.Path) -> pathlib.Path:
    name = "train-images-idx3-ubyte.gz"
    (root / name).write_bytes(data.gz[name][:-900])
    return root / name


CONTENTS = {
    "empty": (_file("a.gz", b""), "a.gz: empty"),
    "html": (_file("train-images-idx3-ubyte.gz", b"\n<!DOCTYPE html><p>Log in"), "an HTML page"),
    "lfs pointer": (_file("a.npz", b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "pickle": (_file("mnist.pkl", b"\x80\x04\x95"), "a Python pickle"),
    "jpeg": (_file("a.jpg", b"\xff\xd8\xff\xe0"), "a JPEG image"),
    "gzip cut short": (_cut, "damaged or cut short"),
    "csv of a header alone": (
        _file("a.csv", b"label," + b",".join(b"pixel%d" % i for i in range(784)) + b"\n"),
        "a.csv: a table without rows",
    ),
    "arff without end": (
        _file("a.arff", b"@relation x\n" + b"% a remark\n" * 100_000),
        "a.arff: no @data line in the first 1,048,576 bytes",
    ),
    "xml behind a byte order mark": (
        _file("train-images-idx3-ubyte.gz", b"\xef\xbb\xbf<?xml version='1.0'?>"),
        "an XML document",
    ),
    "gzip of HTML": (_file("a.gz", gzip.compress(b"<html>sorry</html>")), "an HTML page"),
    "zip cut short": (_file("a.zip", b"PK\x03\x04" + b"\0" * 80), "not a readable zip"),
    "idx of other length": (_file("a", b"\0\0\x08\x01\0\0\0\x09ab"), "the file holds 2"),
    "csv nan": (_csv(_cell(3, 9, b"NaN")), "line 4, column 10: .* found 'NaN'"),
    "csv above 255": (_csv(_cell(2, 5, b"256")), "line 3, column 6: .* found '256'"),
    "csv above 255 at the end": (_csv(_cell(2, 784, b"256")), "column 785: .* found '256'"),
    "csv negative": (_csv(_cell(2, 5, b"-1")), "found '-1'"),
    "csv empty cell": (_csv(_cell(2, 5, b"")), "line 3, column 6"),
    "csv fraction": (_csv(_cell(2, 5, b"0.5")), "found '0.5'"),
    "csv line without an end": (
        _csv(lambda ls: ls.__setitem__(1, b"1" * (2 << 20))),
        "line 2 never ends",
    ),
    "csv short row": (_csv(lambda ls: ls.__setitem__(4, b"1,2,3")), "line 5 has 3 values"),
    "csv missing column": (
        _csv(lambda ls: ls.__setitem__(slice(None), [x.rpartition(b",")[0] for x in ls])),
        "expected 785 columns",
    ),
    "csv no label": (
        _csv(lambda ls: ls.__setitem__(slice(None), [_label_inside(x) for x in ls])),
        "one column called label",
    ),
    "csv too many rows": (_csv(lambda ls: ls.extend(ls[1:] * 2)), "more than 160 rows"),
    "csv missing rows": (_csv(lambda ls: ls.__delitem__(slice(9, 19))), "found 110 of 120 train"),
    "csv of one split": (_csv(lambda ls: None), "found 0 of 40 test images"),
    "arff without data": (_file("a.arff", b"@RELATION x\n@ATTRIBUTE a REAL\n"), "without @data"),
    "arff attributes": (_file("a.arff", b"@relation x\n@data\n1\n"), "expected 785 attributes"),
    "png size": (_png_tree(made.png_of_lines(bytes(32 * 33), 32, 32)), "32x32 pixels"),
    "png colour": (
        _png_tree(made.png_of_lines(bytes([0, 1, *bytes(83)]) * 28, 28, 28, 8, 2)),
        "8-bit colour",
    ),
    "png depth": (_png_tree(made.png_of_lines(bytes(28 * 57), 28, 28, 16)), "16-bit grey"),
    "png filter": (_png_tree(made.png_of_lines(b"\x09" + bytes(28 * 29 - 1), 28, 28)), "filter 9"),
    "png bomb": (_png_tree(made.png_of_lines(bytes(1 << 22), 28, 28)), "holds 813 bytes, not 812"),
    "png cut": (_png_tree(made.png_of_lines(bytes(812), 28, 28)[:-9]), "damaged or cut short"),
    "npz shape": (_npz(x=np.zeros((5, 32, 32), np.uint8)), r"shape \(5, 32, 32\)"),
    "npz nan": (_npz(x=np.full((5, 28, 28), np.nan)), "NaN"),
    "npz above 255": (_npz(x=np.full((5, 28, 28), 256)), "holds the value 256"),
    "npz normalised": (_npz(x=np.full((5, 784), 0.4123)), "not whole numbers"),
    "npz text": (_npz(x=np.full((5, 784), "a")), "expected numbers"),
    "npz too many rows": (_npz(x=np.zeros((161, 784), np.uint8)), "161 rows"),
    "npz of other words": (_npz(y=np.array(["Bag", "Hat"])), "'Hat' names no class"),
    "npz not one-hot": (_npz(y=np.zeros((5, 10))), "not one-hot"),
    "parquet columns": (
        _parquet(lambda c: c.update(pic=c.pop("image"))),
        "columns image and label",
    ),
    "parquet null": (_parquet(lambda c: c["image"].__setitem__(3, None)), "1 images are missing"),
    "parquet no label": (_parquet(lambda c: c["label"].__setitem__(3, None)), "labels are missing"),
    "parquet jpeg": (
        _parquet(lambda c: c["image"][0].update(bytes=b"\xff\xd8\xff\xe0")),
        "expected PNG images, found a JPEG",
    ),
    "parquet damaged": (_file("a.parquet", b"PAR1" + b"\0" * 99), "not a readable parquet"),
    "one pixel changed": (_altered, "1 of 120 images are none of the stand-in"),
    "one label changed": (_wrong_label, "the train labels differ from the original"),
    "half of the data": (_half, "found 60 of 120 train images"),
}


def assert_refused(kind, match, data, make, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(data, folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind, match=match) as caught:
        adopt.adopt(path, tmp_path / "out" / "deep", dataset=data.dataset, table=data.table)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ARCHIVES)
def test_adopt_refuses_the_archive(name, standin, tmp_path):
    make, match = ARCHIVES[name]
    assert_refused(errors.ArchiveError, match, standin, make, tmp_path)


@pytest.mark.parametrize("name", CONTENTS)
def test_adopt_says_what_is_wrong(name, standin, tmp_path):
    make, match = CONTENTS[name]
    assert_refused(errors.ContentError, match, standin, make, tmp_path)


def test_adopt_leaves_an_existing_target_as_it_was(standin, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "train-images-idx3-ubyte.gz").write_bytes(b"mine")
    (tmp_path / "a.csv").write_text("label,1\n")
    with pytest.raises(errors.ContentError):
        adopt.adopt(tmp_path / "a.csv", out, dataset=standin.dataset)
    assert [p.read_bytes() for p in out.iterdir()] == [b"mine"]


def test_adopt_names_the_impostor(real_data, tmp_path):
    impostor = real_data.parent / "impostors" / "fmnist-2017-08-26" / made.NAMES[1]
    if not impostor.is_file():
        pytest.skip(f"the old revision is not at hand: {impostor.name}")
    with pytest.raises(errors.ContentError, match="revision of 26 August 2017"):
        adopt.adopt(impostor, tmp_path / "out")


def test_adopt_does_not_wait_for_a_pipe_in_a_folder(standin, tmp_path):
    os.mkfifo(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(errors.ContentError, match="gz: a named pipe or device, not a file"):
        adopt.adopt(tmp_path, tmp_path / "out", dataset=standin.dataset, table=standin.table)
    with pytest.raises(errors.ArgumentError, match="neither a file nor a folder"):
        adopt.adopt(tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "out")


def test_adopt_follows_a_loop_of_links_once(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    (tmp_path / "README").write_text("words")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(errors.ContentError) as caught:
        adopt.adopt(tmp_path, tmp_path / "out", dataset=standin.dataset, table=standin.table)
    assert "more than 3 files" not in caught.value.message


def test_file_that_cannot_be_read_is_no_matter_of_its_content(standin, tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(standin.gz[made.NAMES[0]])
    opened = pathlib.Path.open

    def refuse(self, *arguments, **options):  # root may read whatever the rights say
        if self.name == "a.gz":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(errors.StoreError, match=r"a\.gz: cannot be read: Permission denied"):
        adopt.adopt(tmp_path, tmp_path / "out", dataset=standin.dataset, table=standin.table)


def test_file_larger_than_the_data_in_any_form_is_refused_unread(standin, tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(b"\x93NUMPY")
        file.truncate(64 << 20)  # no block of it is on the disk
    with pytest.raises(errors.ContentError, match="67,108,864 bytes are more than this data set"):
        adopt.adopt(tmp_path, tmp_path / "out", dataset=standin.dataset, table=standin.table)


def test_adopt_names_the_extra_where_pyarrow_is_missing(standin, tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and so on")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(errors.MissingExtraError, match=r'pip install "fmnist_tfds\[parquet\]"'):
        adopt.adopt(tmp_path, tmp_path / "out", dataset=standin.dataset)


def test_adopt_into_a_place_that_cannot_be_written_is_a_store_error(standin, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.StoreError, match="cannot be written"):
        adopt.adopt(tmp_path, tmp_path / "file" / "out", dataset=standin.dataset)
