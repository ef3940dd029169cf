"""Whatever the bytes are, the readers refuse them with an error of ours, or prove them."""

from __future__ import annotations

import gzip
import io
import pathlib
import shutil
import tarfile
import tempfile
import zipfile

import containers as made
import hypothesis
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st

from fmnist_tfds import errors
from fmnist_tfds.exchange import bundle
from fmnist_tfds.exchange.adopt import adopt, npy, png_files
from fmnist_tfds.exchange.adopt import containers as forms
from fmnist_tfds.exchange.adopt import leaf as leaves
from fmnist_tfds.formats import idx

BOUNDED = hypothesis.settings(
    max_examples=60,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
SIGNATURES = [start for form in forms.FORMATS for start in form.starts] + [
    b"label,",
    b"@relation x\n@data\n",
    b"",
]


def adopt_bytes(data, content: bytes) -> None:
    """Adopts one file of these bytes: complete, or an error of ours and nothing left."""
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        (folder / "file").write_bytes(content)
        try:
            adopt.adopt(folder / "file", folder / "out", dataset=data.dataset, table=data.table)
        except (errors.ContentError, errors.MissingExtraError):
            assert [p.name for p in folder.iterdir()] == ["file"]
    finally:
        shutil.rmtree(folder)


def containers(data) -> dict[str, bytes]:
    """One small sample of every kind of file."""
    raw = {n.removesuffix(".gz"): p for n, p in data.payloads.items() if "labels" in n}
    packed, tar, npz = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in raw.items():
            archive.writestr(name, content)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in raw.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    np.savez(npz, x=data.x_test[:3], y=data.y_test[:3])
    samples = {
        "zip": packed.getvalue(),
        "tar": tar.getvalue(),
        "npz": npz.getvalue(),
        "idx": data.payloads[made.NAMES[3]],
        "gzip": gzip.compress(data.payloads[made.NAMES[3]]),
        "xz": made.lzma.compress(data.payloads[made.NAMES[3]], preset=0),
        "bz2": made.bz2.compress(data.payloads[made.NAMES[3]]),
        "png": made.png(data.x_test[0]),
        "arff": b"@relation x\n"
        + b"@attribute p real\n" * 784
        + b"@attribute class {0}\n@data\n"
        + b"7," * 784
        + b"1\n",
    }
    csv = b"label," + b",".join(b"pixel%d" % i for i in range(784)) + b"\n" + b"1," * 784 + b"2\n"
    return samples | {"csv": csv}


@BOUNDED
@hypothesis.given(head=st.sampled_from(SIGNATURES), tail=st.binary(max_size=2000))
def test_adopt_refuses_random_bytes(standin, head, tail):
    adopt_bytes(standin, head + tail)


@pytest.mark.parametrize(
    "kind", ["zip", "tar", "npz", "idx", "gzip", "xz", "bz2", "png", "arff", "csv"]
)
@BOUNDED
@hypothesis.given(data=st.data())
def test_adopt_survives_damage_to_a_real_container(standin, kind, data):
    content = bytearray(containers(standin)[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        action = data.draw(st.sampled_from(["set", "cut", "insert"]))
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if action == "set" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif action == "cut":
            del content[at : at + data.draw(st.integers(1, 40))]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    adopt_bytes(standin, bytes(content))


@BOUNDED
@hypothesis.given(payload=st.binary(max_size=200), name=st.text(max_size=5))
def test_idx_decodes_or_refuses(payload, name):
    leaf = leaves.Leaf(name, "", "", payload, len(payload), data=payload)
    try:
        array = npy.read_idx(leaf, payload)
    except errors.ContentError:
        return
    assert idx.encode(array) == payload


@BOUNDED
@hypothesis.given(seed=st.integers(0, 1 << 30), filters=st.booleans())
def test_png_decoding_inverts_every_filter(seed, filters):
    image = np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
    lines = png_files.scanlines(made.png(image, filters=filters), 28, "x")
    assert (png_files.decode([lines], 28, "x").reshape(28, 28) == image).all()


@BOUNDED
@hypothesis.given(content=st.binary(max_size=300))
def test_bundle_refuses_random_bytes(content):
    with pytest.raises(errors.ContentError):
        bundle.verify(b"PK\x03\x04" + content + b"PK\x05\x06" + bytes(18))


def test_png_decoding_agrees_with_pillow(standin):
    for image in standin.x_train[:10]:
        packed = io.BytesIO()
        PIL.Image.fromarray(image).save(packed, "PNG")
        lines = png_files.scanlines(packed.getvalue(), 28, "x")
        assert (png_files.decode([lines], 28, "x").reshape(28, 28) == image).all()
        read = np.asarray(PIL.Image.open(io.BytesIO(made.png(image))))
        assert (read == image).all()
