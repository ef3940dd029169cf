"""Records as others write them: the label before the image or after it, PNGs of any length.

Protobuf maps have no order; TFDS's own fashion_mnist holds PNGs of 60 to 800 bytes.
"""

import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.formats import tfrecord

from . import conftest

SHARDS = 2
# Whether the label comes first, by the number of the shard and of the record in it.
ORDERS = {
    "image first": lambda shard, record: False,
    "label first": lambda shard, record: True,
    "another order in each shard": lambda shard, record: shard == 1,
    "both in each shard": lambda shard, record: record % 3 == 2,
    "the last record alone": lambda shard, record: record == 499,
}


@pytest.fixture(params=ORDERS)
def builder(tmp_path, request):
    """tiny_clothes in two shards, whose records are laid out in one of these ways."""
    made = conftest.prepare(tmp_path, num_shards=SHARDS)
    images = np.split(conftest.make_images(1000), SHARDS)
    labels = np.split(conftest.make_labels(1000), SHARDS)
    for shard in range(SHARDS):
        rows = np.concatenate(list(tfrecord.encode(images[shard], labels[shard])))
        path = str(conftest.shard_path(made, index=shard))
        with tf.io.TFRecordWriter(path) as writer:
            for record, orders in enumerate(tfrecord.examples(rows)):
                writer.write(orders[ORDERS[request.param](shard, record)])
    return made


@pytest.mark.parametrize("source", ["resident", "stream"])
def test_every_image_and_label_is_read_whatever_the_order_of_the_fields(builder, known, source):
    batches = input_pipeline.make_eval(
        130, builder=builder, split="train", dtype="uint8", source=source
    )
    found = np.concatenate([images for images, _ in batches])[..., 0]
    order = conftest.read_numbers(batches)
    assert sorted(order) == list(range(1000))
    np.testing.assert_array_equal(found, conftest.make_images(1000)[order])
    trained = input_pipeline.make_train(33, builder=builder, dtype="uint8", source=source)
    assert sorted(conftest.read_numbers(trained)) == list(range(1000))


@pytest.mark.parametrize("source", ["resident", "stream"])
def test_damage_is_named_whatever_the_order_of_the_fields(builder, known, source):
    path = conftest.shard_path(builder, index=1)
    data = bytearray(path.read_bytes())
    data[301 * (len(data) // 500) + 400] ^= 1
    path.write_bytes(data)
    wanted = rf"{path.name}: record 301 of 500 is damaged: its bytes do not match its crc32c"
    with pytest.raises(errors.RecordError, match=wanted):
        input_pipeline.make_train(33, builder=builder, source=source)


@pytest.fixture
def packed(tmp_path):
    """tiny_clothes in two shards of PNGs that differ in length, and its images."""
    made = conftest.prepare(tmp_path, num_shards=SHARDS)
    images = conftest.make_images(1000)
    for number, image in enumerate(images):
        image[15 + number % 7 :] = 0
    for shard, places in enumerate(np.split(np.arange(1000), SHARDS)):
        with tf.io.TFRecordWriter(str(conftest.shard_path(made, index=shard))) as writer:
            for place in places:
                example = tf.train.Example()
                png = tf.io.encode_png(images[place, ..., None]).numpy()
                label = int(conftest.make_labels(1000)[place])
                example.features.feature["image"].bytes_list.value.append(png)
                example.features.feature["label"].int64_list.value.append(label)
                writer.write(example.SerializeToString())
    return made, images


@pytest.mark.parametrize("source", ["resident", "stream"])
@pytest.mark.parametrize("shard", [None, (1, 3)])
def test_pngs_of_any_length_are_read_whole(packed, source, shard):
    builder, images = packed
    arguments = {"builder": builder, "source": source, "dtype": "uint8", "shard": shard}
    batches = input_pipeline.make_eval(70, split="train", verify=False, **arguments)
    trained = input_pipeline.make_train(33, **arguments)
    for made in (batches, trained):
        order = conftest.read_numbers(made)
        assert len(set(order)) == len(order)
        assert len(order) == 1000 or shard
        found = np.concatenate([pixels for pixels, _ in made])[..., 0]
        np.testing.assert_array_equal(found, images[conftest.numbers(found[..., None])])


@pytest.mark.parametrize("make", [input_pipeline.make_train, input_pipeline.make_eval])
def test_checkpoint_of_records_that_are_read_otherwise_is_refused(packed, tmp_path, make):
    # The same examples, mapped there and parsed here: tf.data's states are not of one kind.
    stored = conftest.prepare(tmp_path / "stored", num_shards=SHARDS)
    arguments = {"split": "train", "source": "stream", "verify": False}
    iterator = iter(make(50, builder=stored, **arguments))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    other = iter(make(50, builder=packed[0], **arguments))
    with pytest.raises(errors.ConfigError, match="by_record=False"):
        tf.train.Checkpoint(iterator=other).restore(path)
