"""The same data spelled otherwise: headers, quotes, types and column names as they occur."""

from __future__ import annotations

import gzip
import io

import containers as made
import numpy as np
import pytest

from fmnist_tfds.exchange.adopt import adopt


def assert_adopted(data, folder, tmp_path):
    adoption = adopt.adopt(folder, tmp_path / "out", dataset=data.dataset, table=data.table)
    for name, payload in data.payloads.items():
        assert gzip.decompress(adoption.files[name].read_bytes()) == payload


def csv_lines(x, y):
    return [
        ",".join(map(str, [label, *row]))
        for row, label in zip(x.reshape(len(x), -1).tolist(), y.tolist(), strict=True)
    ]


HEADER = "label," + ",".join(f"pixel{i}" for i in range(1, 785))
CSV = {
    "byte order mark": lambda lines: "\ufeff" + "\n".join([HEADER, *lines]) + "\n",
    "quotes": lambda lines: "\r\n".join(
        '"' + line.replace(",", '","') + '"' for line in [HEADER, *lines]
    ),
    "blank lines at the end": lambda lines: "\n".join([HEADER, *lines]) + "\n\n\n",
    "no header": lambda lines: "\n".join(lines),
    "spaces": lambda lines: "\n".join([HEADER, *lines]).replace(",", ", "),
    "label in the middle": lambda lines: "\n".join(
        ",".join([*cells[1:300], cells[0], *cells[300:]])
        for cells in (line.split(",") for line in [HEADER, *lines])
    ),
    "label called class": lambda lines: "\n".join([HEADER.replace("label", "Class"), *lines]),
}


@pytest.mark.parametrize("form", CSV)
def test_csv_is_read_however_it_is_spelled(form, standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for split, x, y in standin.splits:
        (folder / f"{split}.csv").write_text(CSV[form](csv_lines(x, y)), newline="")
    assert_adopted(standin, folder, tmp_path)


@pytest.mark.parametrize(
    ("names", "pack"),
    [
        (("image", "label"), lambda x: [image.tobytes() for image in x]),
        (("img", "target"), lambda x: [image.ravel().tolist() for image in x]),
        (("pixels", "class"), made.quick_pngs),
        (("images", "labels"), lambda x: [made.png(image) for image in x]),
    ],
)
def test_parquet_is_read_with_pngs_or_raw_pixels_under_any_usual_name(
    names, pack, standin, tmp_path
):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path / "in"
    folder.mkdir()
    for split, x, y in standin.splits:
        table = pyarrow.table({names[0]: pack(x), "id": list(range(len(x))), names[1]: y.tolist()})
        parquet.write_table(table, folder / f"{split}.parquet")
    assert_adopted(standin, folder, tmp_path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", [">i2", "<u4", ">f8", "f2", "i8"])
def test_npy_is_read_in_any_type_byte_order_and_version(version, dtype, standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, array in zip("xyuv", standin.arrays, strict=True):
        content = io.BytesIO()
        np.lib.format.write_array(content, array.astype(dtype), version=version)
        (folder / f"{name}.npy").write_bytes(content.getvalue())
    assert_adopted(standin, folder, tmp_path)


@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("shape", [(28, 28), (784,), (28, 28, 1), (1, 28, 28)])
def test_npz_is_read_in_any_usual_shape_and_scale(shape, scale, standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    x, u = (
        (a.reshape(len(a), *shape) / scale).astype(np.float32)
        for a in (standin.x_train, standin.x_test)
    )
    y, v = (standin.y_train[:, None], np.eye(10, dtype=np.float32)[standin.y_test])
    np.savez_compressed(folder / "a.npz", x=x, y=y, u=u, v=v)
    assert_adopted(standin, folder, tmp_path)


@pytest.mark.parametrize(
    "folder", ["{i}", "class_{i}", "label {i}", "{i:03d}", "{name}", "{kebab}"]
)
def test_png_folders_are_read_under_any_usual_name_of_a_class(folder, standin, tmp_path):
    files = {}
    for split, x, y in standin.splits:
        for number, (image, i) in enumerate(zip(made.quick_pngs(x), y.tolist(), strict=True)):
            name = standin.dataset.class_names[i].split("/")[0]
            place = folder.format(i=i, name=name, kebab=name.lower().replace(" ", "-"))
            files[f"{split}/{place}/{number}.png"] = image
    assert_adopted(standin, made.write_all(tmp_path / "in", files), tmp_path)
