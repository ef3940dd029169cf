"""The forms that people have at hand: tables of every spelling, caches, prepared folders, PNGs."""

from __future__ import annotations

import io
import struct

import containers as made
import numpy as np
import PIL.Image
import pyarrow
import pytest
from pyarrow import parquet
from test_adopt_spellings import assert_adopted

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import adopt
from fmnist_tfds.formats import tfrecord

PIXELS = [f"pixel{i}" for i in range(1, 785)]


def _lines(x, y=None, *, index=None, separator=",", header=(), last=False):
    cells = [list(map(str, row)) for row in x.reshape(len(x), -1).tolist()]
    if y is not None:
        cells = [
            [*row, str(n)] if last else [str(n), *row] for row, n in zip(cells, y, strict=True)
        ]
    if index is not None:
        cells = [[str(i + index), *row] for i, row in enumerate(cells)]
    return "\n".join(separator.join(row) for row in ([list(header)] if header else []) + cells)


def _names(data, y):
    return [data.dataset.class_names[label] for label in y]


TABLES = {
    "semicolons": lambda d, x, y: _lines(x, y, separator=";", header=["label", *PIXELS]),
    "tabs": lambda d, x, y: _lines(x, y, separator="\t", header=["label", *PIXELS]),
    "spaces": lambda d, x, y: _lines(x, y, separator=" "),
    "pandas index": lambda d, x, y: _lines(x, y, index=0, header=["", "label", *PIXELS]),
    "index without header": lambda d, x, y: _lines(x, y, index=0),
    "label last": lambda d, x, y: _lines(x, y, last=True),
    "odd name of the label": lambda d, x, y: _lines(x, y, last=True, header=[*PIXELS, "garment"]),
    "nameless columns": lambda d, x, y: _lines(x, y, index=0, header=["", *map(str, range(785))]),
    "numbered columns": lambda d, x, y: _lines(x, y, header=map(str, range(785))),
    "pandas index, label last": lambda d, x, y: _lines(
        x, y, index=0, last=True, header=["", *map(str, range(784)), "label"]
    ),
    "class names": lambda d, x, y: _lines(x, _names(d, y), header=["label", *PIXELS]),
    "class names without header": lambda d, x, y: _lines(x, _names(d, y)),
    "class names and index": lambda d, x, y: _lines(
        x, _names(d, y), index=7, last=True, header=["id", *PIXELS, "class"]
    ),
    "byte order mark": lambda d, x, y: "\ufeff" + _lines(x, y),
    "savetxt": lambda d, x, y: _savetxt(np.column_stack([y, x.reshape(len(x), -1)])),
}


def _savetxt(table):
    out = io.StringIO()
    np.savetxt(out, table)
    return out.getvalue()


@pytest.mark.parametrize("form", TABLES)
def test_table_is_read_with_its_separator_index_and_names(form, standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for split, x, y in standin.splits:
        order = np.random.default_rng(5).permutation(len(x))
        (folder / f"{split}.csv").write_text(TABLES[form](standin, x[order], y[order]))
    assert_adopted(standin, folder, tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (lambda x: _lines(x, header=PIXELS), lambda d, y: "label\n" + "\n".join(map(str, y))),
        (lambda x: _lines(x), lambda d, y: "\n".join(map(str, y)) + "\n"),
        (
            lambda x: _lines(x, header=map(str, range(784))),
            lambda d, y: "\n".join(["0", *map(str, y)]),
        ),
        (
            lambda x: _lines(x, index=0, header=["", *PIXELS]),
            lambda d, y: "\n".join([",label", *(f"{i},{n}" for i, n in enumerate(y))]),
        ),
        (lambda x: _lines(x, separator=";"), lambda d, y: "\n".join(f"{n}.0" for n in y)),
        (
            lambda x: _lines(x),
            lambda d, y: "\n".join(f"{i},{n}" for i, n in enumerate(y)) + "\n",
        ),
        (lambda x: _lines(x), lambda d, y: "\n".join(_names(d, y)) + "\n"),
        (
            lambda x: _lines(x),
            lambda d, y: "\r\n".join(['"class"', *(f'"{n}"' for n in _names(d, y))]),
        ),
    ],
)
def test_images_and_labels_in_tables_of_their_own_are_brought_together(
    images, labels, standin, tmp_path
):
    folder = tmp_path / "in"
    folder.mkdir()
    for split, x, y in standin.splits:
        order = np.random.default_rng(6).permutation(len(x))
        (folder / f"X_{split}.csv").write_text(images(x[order]))
        (folder / f"y_{split}.csv").write_text(labels(standin, y[order]), newline="")
    assert_adopted(standin, folder, tmp_path)


def test_arrays_and_parquet_may_name_the_classes(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = np.array(_names(standin, standin.y_train))
    np.savez(folder / "train.npz", x=standin.x_train[::-1], y=names[::-1])
    images = [{"bytes": p, "path": None} for p in made.quick_pngs(standin.x_test)]
    table = pyarrow.table({"image": images, "label": _names(standin, standin.y_test)})
    parquet.write_table(table, folder / "test.parquet")
    assert_adopted(standin, folder, tmp_path)


MODES = {"RGB": 3, "RGBA": 4, "LA": 2}


@pytest.mark.parametrize("mode", MODES)
def test_grey_stored_as_colour_or_with_alpha_is_read(mode, standin, tmp_path):
    """Pillow filters each line as it finds best: all types but the average occur."""
    files = {}
    for split, x, y in standin.splits:
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            out = io.BytesIO()
            PIL.Image.fromarray(image).convert(mode).save(out, "PNG")
            files[f"{split}/{label}/{i}.png"] = out.getvalue()
    assert_adopted(standin, made.write_all(tmp_path / "in", files), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("{split}_{i:05d}_{label}", "{label}_{i}", "img{i}-label{label}"),
        *("img_{i:05d}_class_{label}", "{i}-{kebab}", "{under}_{i:04d}"),
        "{label}_{i}_7",  # the digests say that it is not the last
    ],
)
def test_label_in_the_name_of_the_file_is_read(name, standin, tmp_path):
    files = {}
    for split, x, y in standin.splits:
        for i, (image, label) in enumerate(zip(made.quick_pngs(x), y.tolist(), strict=True)):
            title = standin.dataset.class_names[label].split("/")[0].lower()
            stem = name.format(
                split=split,
                i=i + 10,
                label=label,
                kebab=title.replace(" ", "-"),
                under=title.replace(" ", "_"),
            )
            files[f"{split}/{stem}.png"] = image
    assert_adopted(standin, made.write_all(tmp_path / "in", files), tmp_path)


def test_pictures_whose_names_tell_no_class_have_no_labels(standin, tmp_path):
    images = made.quick_pngs(standin.x_train)
    files = {f"train/img{i:05d}x.png": image for i, image in enumerate(images)}
    with pytest.raises(errors.ContentError, match=r"found 0 of \d+ train labels"):
        adopt.adopt(
            made.write_all(tmp_path / "in", files),
            tmp_path / "out",
            dataset=standin.dataset,
            table=standin.table,
        )


def test_remarks_and_blank_lines_among_the_rows_of_an_arff_file_are_no_rows(standin, tmp_path):
    head, data, rows = made.arff_text(standin).partition(b"@DATA\n")
    lines = rows.splitlines(keepends=True)
    lines[3:3] = [b"% a remark\n", b"\n"]
    content = head + data + b"".join(lines)
    assert_adopted(standin, made.write_all(tmp_path / "in", {"a.arff": content}), tmp_path)


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("pack", ["png", "lists"])
def test_arrow_files_of_datasets_are_read(pack, is_stream, standin, tmp_path):
    for split, x, y in standin.splits:
        images = (
            [{"bytes": p, "path": None} for p in made.quick_pngs(x)]
            if pack == "png"
            else x.tolist()
        )
        table = pyarrow.table({"image": images, "label": y.astype(np.int64)})
        path = tmp_path / "in" / "531be5e" / f"fashion_mnist-{split}.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = pyarrow.ipc.new_stream if is_stream else pyarrow.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
    (tmp_path / "in" / "dataset_info.json").write_text("{}")
    assert_adopted(standin, tmp_path / "in", tmp_path)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_arrow_buffers_that_declare_their_own_lengths_are_refused(codec, standin, tmp_path):
    table = pyarrow.table({"image": standin.x_test.tolist(), "label": standin.y_test.tolist()})
    options = pyarrow.ipc.IpcWriteOptions(compression=codec)
    with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(errors.ContentError, match="its batches are compressed"):
        adopt.adopt(tmp_path / "a.arrow", tmp_path / "out", dataset=standin.dataset)


def test_arrow_file_of_more_rows_or_of_dictionaries_is_refused(standin, tmp_path):
    most = len(standin.x_train) + len(standin.x_test)
    many = pyarrow.table({"image": [bytes(784)] * (most + 1), "label": [0] * (most + 1)})
    words = pyarrow.array(["Bag"] * 9).dictionary_encode()
    coded = pyarrow.table({"image": [bytes(784)] * 9, "label": words})
    for table, match in (
        (many, f"{most + 1:,} rows, expected at most {most:,}"),
        (coded, "holds a dictionary.*, which is not read here"),
    ):
        with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(errors.ContentError, match=match):
            adopt.adopt(tmp_path / "a.arrow", tmp_path / "out", dataset=standin.dataset)


def _bytes_field(number: int, content: bytes) -> bytes:
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def _example(image: bytes, label: int) -> bytes:
    image = _bytes_field(2, _bytes_field(1, _bytes_field(1, image)))
    number = _bytes_field(2, _bytes_field(3, bytes([8, label])))  # not packed
    entries = (
        _bytes_field(1, b"label") + number,
        _bytes_field(1, b"image") + image,
    )
    return _bytes_field(1, b"".join(_bytes_field(1, entry) for entry in entries))


def _frame(record: bytes) -> bytes:
    length = np.frombuffer(struct.pack("<Q", len(record)), np.uint8)[None]
    check = tfrecord.masked_crc32c(length).astype("<u4").tobytes()
    return length.tobytes() + check + record + bytes(4)


SHARDS = {
    "a record of a gigabyte": (
        lambda good: tfrecord_head(1 << 30) + good,
        "a record of 1,073,741,824 bytes",
    ),
    "cut short": (lambda good: good[:-9], "damaged or cut short"),
    "no Example": (
        lambda good: _frame(b"\xff" * 40),
        "record 1: no Example of an image and a label",
    ),
    "no image": (lambda good: _frame(_bytes_field(1, b"")), "without the features image and label"),
    "a label that is no class": (
        lambda good: good + _frame(_example(bytes(784), 17)),
        "a label is none of the stand-in",
    ),
    "more records than the data has": (lambda good: good * 161, "more than 160 records"),
    "a JPEG": (lambda good: _frame(_example(b"\xff\xd8\xff", 1)), "found a JPEG image"),
}


def tfrecord_head(length: int) -> bytes:
    return _lengths(length)


def _lengths(length: int) -> bytes:
    row = np.frombuffer(struct.pack("<Q", length), np.uint8)[None]
    return row.tobytes() + tfrecord.masked_crc32c(row).astype("<u4").tobytes()


@pytest.mark.parametrize("name", SHARDS)
def test_shard_that_holds_something_else_is_refused(name, standin, tmp_path):
    change, match = SHARDS[name]
    good = _frame(_example(made.png(standin.x_test[0]), 1))
    (tmp_path / "a.tfrecord").write_bytes(change(good))
    with pytest.raises(errors.ContentError, match=match):
        adopt.adopt(tmp_path / "a.tfrecord", tmp_path / "out", dataset=standin.dataset)
    assert not (tmp_path / "out").exists()
