"""Forms that people hold the data in beside the usual ones: each is taken, and proved."""

from __future__ import annotations

import gzip
import hashlib
import pathlib
import struct

import containers as made
import numpy as np
import pyarrow
import pytest
from pyarrow import ipc

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import adopt
from fmnist_tfds.formats import tfrecord


def assert_adopted(data, folder, tmp_path):
    adoption = adopt.adopt(folder, tmp_path / "out", dataset=data.dataset, table=data.table)
    for name, payload in data.payloads.items():
        assert gzip.decompress(adoption.files[name].read_bytes()) == payload
    return adoption


def refusal(data, path, tmp_path) -> str:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.ContentError) as caught:
        adopt.adopt(path, tmp_path / "out", dataset=data.dataset, table=data.table)
    assert sorted(tmp_path.rglob("*")) == before
    return caught.value.message


def written(tmp_path: pathlib.Path, files: dict[str, str | bytes]) -> pathlib.Path:
    return made.write_all(
        tmp_path / "in",
        {n: c if isinstance(c, bytes) else c.encode() for n, c in files.items()},
    )


def test_labels_as_an_array_of_class_names_are_taken(standin, tmp_path):
    names = np.array(standin.dataset.class_names)
    np.savez(
        tmp_path / "a.npz",
        x=standin.x_train[::-1],
        y=names[standin.y_train][::-1],
        u=standin.x_test,
        v=names[standin.y_test].astype("S"),
    )
    assert_adopted(standin, tmp_path / "a.npz", tmp_path)


def test_picture_that_is_not_grey_or_not_opaque_is_named(standin, tmp_path):
    raw = bytearray(bytes([0]) + bytes([7, 7, 7, 255]) * 28) * 28
    for at, said in ((1, "a.png: .*colour"), (4, "transparent")):
        changed = bytearray(raw)
        changed[at] = 9
        path = written(tmp_path, {"a.png": made.png_of_lines(bytes(changed), 28, 28, 8, 6)})
        message = refusal(standin, path, tmp_path)
        assert said.rpartition("*")[2] in message


def test_arrow_file_that_is_cut_or_forged_is_refused(standin, tmp_path):
    table = pyarrow.table({"image": [bytes(784)] * 100, "label": [0] * 100})
    with ipc.new_stream(str(tmp_path / "whole"), table.schema) as sink:
        sink.write_table(table)
    whole = (tmp_path / "whole").read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:40],
        b"\xff" * 64,
        b"ARROW1\0\0" + b"\x07" * 99,
    ):
        (tmp_path / "a.arrow").write_bytes(content)
        assert "a.arrow" in refusal(standin, tmp_path / "a.arrow", tmp_path)


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 1 << 14
    size = bytes([len(content) & 127 | 128, len(content) >> 7])
    return bytes([number << 3 | 2]) + size + content


def _record(image: bytes, label: int, *, packed: bool) -> bytes:
    """An Example as any protobuf library may write it."""
    number = b"\x0a\x01" + bytes([label]) if packed else b"\x08" + bytes([label])
    features = b"".join(
        _field(1, _field(1, key) + _field(2, feature))
        for key, feature in (
            (b"label", _field(3, number)),
            (b"id", _field(1, _field(1, b"train_17"))),
            (b"image", _field(1, _field(1, image))),
        )
    )
    example = _field(1, features)
    length = np.frombuffer(struct.pack("<Q", len(example)), np.uint8)[None]
    head = length.tobytes() + tfrecord.masked_crc32c(length).astype("<u4").tobytes()
    return head + example + bytes(4)


@pytest.mark.parametrize("packed", [True, False])
def test_prepared_stock_data_set_is_taken_in_any_number_of_shards(packed, standin, tmp_path):
    files = {}
    for split, x, y in standin.splits:
        x, y = made.shuffled(x, y)
        records = [
            _record(made.png(image), label, packed=packed)
            for image, label in zip(x, y.tolist(), strict=True)
        ]
        for shard in range(3):
            name = f"fashion_mnist-{split}.tfrecord-0000{shard}-of-00003"
            files[f"fashion_mnist/3.0.1/{name}"] = b"".join(records[shard::3])
    files["fashion_mnist/3.0.1/dataset_info.json"] = b"{}"
    assert_adopted(standin, written(tmp_path, files), tmp_path)


def test_shards_of_our_own_are_taken(standin, tmp_path):
    files = {
        f"x-{split}.tfrecord-00000-of-00001": b"".join(r.tobytes() for r in tfrecord.encode(x, y))
        for split, x, y in standin.splits
    }
    assert_adopted(standin, written(tmp_path, files), tmp_path)


PASSED_OVER = {
    "7z": (b"7z\xbc\xaf\x27\x1c\0", "a 7z archive; unpack it first: 7z x FILE"),
    "rar": (b"Rar!\x1a\x07\0", "unrar x FILE"),
    "zst": (b"\x28\xb5\x2f\xfd\0", "zstd -d FILE"),
    "lz4": (b"\x04\x22\x4d\x18\0", "lz4 -d FILE"),
    "h5": (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
    "mat": (b"MATLAB 5.0 MAT-file, Platform", "a MATLAB file"),
    "sqlite": (b"SQLite format 3\0", "export its table as CSV"),
    "gif": (b"GIF89a", "an image that is no PNG"),
    "array_record": (bytes.fromhex("83af70d10d884a3f") + bytes(56), "prepare it as TFRecord"),
    "jpg": (b"\xff\xd8\xff\xe0", "a JPEG image, whose pixels are no longer the original ones"),
    "pkl": (b"\x80\x04\x95", "which could run code"),
}


@pytest.mark.parametrize("kind", PASSED_OVER)
def test_what_is_not_read_is_named_with_the_next_step(kind, standin, tmp_path):
    content, said = PASSED_OVER[kind]
    path = written(tmp_path, {f"some/where.{kind}": content, "README": b"words"})
    message = refusal(standin, path, tmp_path)
    assert f"some/where.{kind}: " in message
    assert said in message
    assert "1 files of no form that is read here" in message
    assert "found 0 of" not in message


def test_tree_of_jpegs_is_counted(standin, tmp_path):
    path = written(tmp_path, {f"{i % 10}/{i}.jpg": b"\xff\xd8\xff\xe0" for i in range(30)})
    message = refusal(standin, path, tmp_path)
    assert "30 files: a JPEG image, whose pixels are no longer the original ones" in message


def test_workbook_is_named(standin, tmp_path):
    made.zip_of(tmp_path / "a.xlsx", {"[Content_Types].xml": b"<?xml", "xl/workbook.xml": b"<?xml"})
    message = refusal(standin, tmp_path / "a.xlsx", tmp_path)
    assert "an Excel workbook, which is not read here; save its sheet as CSV" in message


def test_links_that_lead_nowhere_are_named(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in made.NAMES:
        (folder / name).symlink_to(f"../blobs/{hashlib.md5(name.encode()).hexdigest()}")
    message = refusal(standin, folder, tmp_path)
    assert f"{made.NAMES[0]}: a link to ../blobs/" in message
    assert "where there is no file" in message
    with pytest.raises(errors.ArgumentError, match=r"a link to .* where there is nothing"):
        adopt.adopt(folder / made.NAMES[0], tmp_path / "out", dataset=standin.dataset)
