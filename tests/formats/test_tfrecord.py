"""Records are written as TensorFlow and protobuf write them, byte for byte."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_tfds.formats import png, tfrecord


def _arrays(count):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)


def _example(image, label):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png.encode(image)])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


@pytest.mark.versions
@pytest.mark.parametrize("count", [0, 1, 5, tfrecord.CHUNK + 1])
def test_encode_writes_the_bytes_of_tensorflows_own_writer(tmp_path, count):
    images, labels = _arrays(count)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for image, label in zip(images, labels.tolist(), strict=True):
            writer.write(_example(image, label))
    ours = b"".join(rows.tobytes() for rows in tfrecord.encode(images, labels))
    assert ours == (tmp_path / "theirs").read_bytes()
    assert len(ours) == count * tfrecord.RECORD_BYTES


def test_layout_of_finds_what_encode_wrote(tmp_path):
    images, labels = _arrays(7)
    path = tmp_path / "shard"
    path.write_bytes(b"".join(rows.tobytes() for rows in tfrecord.encode(images, labels)))
    layout = tfrecord.layout_of(path, 7, path.stat().st_size)
    assert layout is not None
    rows = np.frombuffer(path.read_bytes(), np.uint8).reshape(7, -1)
    assert not layout.nonconforming(rows).size
    np.testing.assert_array_equal(rows[:, layout.label_offset], labels)
    encoded = rows[:, layout.png_offset : layout.png_offset + png.LENGTH]
    np.testing.assert_array_equal(png.pixels(encoded), images)


@given(st.binary(min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_masked_crc32c_is_that_of_tensorflows_files(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("crc") / "one"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(content)
    theirs = int.from_bytes(path.read_bytes()[-4:], "little")
    row = np.frombuffer(content, np.uint8)[None]
    assert tfrecord.masked_crc32c(row).tolist() == [theirs]


@pytest.mark.parametrize("bit", [0, 70, 12 * 8, 500 * 8 + 3, tfrecord.RECORD_BYTES * 8 - 1])
def test_broken_names_the_record_with_a_flipped_bit(bit):
    rows = next(tfrecord.encode(*_arrays(9))).copy()
    assert not tfrecord.broken(rows).size
    rows[4, bit // 8] ^= 1 << bit % 8
    assert tfrecord.broken(rows).tolist() == [4]


@pytest.mark.parametrize("comes_first", ["image", "label"])
def test_stored_examples_are_read_without_a_parser(comes_first):
    images, labels = _arrays(9)
    rows = next(iter(tfrecord.encode(images, labels)))
    payloads = [pair[comes_first == "label"] for pair in tfrecord.examples(rows)]
    found = tfrecord.stored_examples(payloads)
    assert found is not None
    np.testing.assert_array_equal(found[0][..., 0], images)
    np.testing.assert_array_equal(found[1], labels)


@pytest.mark.parametrize(
    "spoilt",
    ["another length", "another order", "a label of two bytes", "a compressed image"],
)
def test_examples_laid_out_otherwise_are_left_to_the_parser(spoilt):
    images, labels = _arrays(3)
    payloads = [_example(image, int(label)) for image, label in zip(images, labels, strict=True)]
    rows = next(iter(tfrecord.encode(images, labels)))
    assert tfrecord.stored_examples(payloads) is not None
    if spoilt == "another length":
        payloads[1] += bytes(1)
    elif spoilt == "another order":
        payloads[1] = max(list(tfrecord.examples(rows))[1], key=lambda e: e != payloads[1])
    elif spoilt == "a label of two bytes":
        payloads = [_example(image, 200) for image in images]
    else:
        head, tail = payloads[1].split(png.HEADER)
        payloads[1] = head + png.HEADER[:-1] + b"\xff" + tail
    assert tfrecord.stored_examples(payloads) is None
