"""png.py: stored PNGs that every reader decodes, whole batches at once."""

import io
import struct
import zlib

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest

from fmnist_tfds import errors
from fmnist_tfds.formats import idx, png


def _images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)


def _decoded(encoded):
    return png.pixels(np.frombuffer(b"".join(encoded), np.uint8).reshape(-1, png.LENGTH))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_encode_is_deterministic_and_of_constant_length(shape):
    image = _images(1)[0].reshape(shape)
    assert png.encode(image) == png.encode(image.copy())
    assert len(png.encode(image)) == png.LENGTH
    assert png.encode(image)[png.ROWS_OFFSET] == 0
    assert png.is_stored(png.encode(image))


@hypothesis.given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=1).map(lambda s: (s[0], 28, 28)))
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_pixels_are_those_that_encode_batch_was_given(images):
    np.testing.assert_array_equal(_decoded(png.encode_batch(images)), images)


def test_encode_batch_equals_encode_one_by_one_for_strided_input():
    images = _images(40)[::2, ::-1]
    assert png.encode_batch(images) == [png.encode(image) for image in images]
    assert png.encode_batch(images[..., None]) == png.encode_batch(images)
    assert png.encode_batch(images[:0]) == []


def test_stored_png_is_read_by_pillow_matplotlib_and_tensorflow():
    import matplotlib.image
    import PIL.Image
    import tensorflow as tf

    for image in (*_images(5), np.zeros((28, 28), np.uint8), np.full((28, 28), 255, np.uint8)):
        encoded = png.encode(image)
        with PIL.Image.open(io.BytesIO(encoded)) as opened:
            opened.load()
            assert opened.mode == "L"
            np.testing.assert_array_equal(np.asarray(opened), image)
        shown = matplotlib.image.imread(io.BytesIO(encoded), format="png")
        np.testing.assert_array_equal(np.round(shown * 255).astype(np.uint8), image)
        np.testing.assert_array_equal(tf.io.decode_png(encoded).numpy()[..., 0], image)


def test_stored_png_has_correct_chunk_checksums():
    data = png.encode(_images(1)[0])
    position, names, idat = 8, [], b""
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + size]
        (crc,) = struct.unpack_from(">I", data, position + 8 + size)
        assert crc == zlib.crc32(body)
        names.append(body[:4])
        idat += body[4:] if body[:4] == b"IDAT" else b""
        position += 12 + size
    assert names == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(idat)) == 28 * 29


@pytest.mark.parametrize(
    "image",
    [np.zeros((28, 27), np.uint8), np.zeros((28, 28, 3), np.uint8), np.zeros((28, 28), np.float32)],
)
def test_encode_refuses_another_shape_or_dtype(image):
    with pytest.raises(errors.ArgumentError, match="expected uint8"):
        png.encode(image)


def test_real_images_survive_bit_exact(real_data):
    import gzip

    payload = gzip.decompress((real_data / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = idx.decode(payload, (10000, 28, 28))
    np.testing.assert_array_equal(_decoded(png.encode_batch(images)), images)
