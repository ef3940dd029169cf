"""Protobuf maps have no order: a record's label may stand before its image or after it."""

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


def _laid_out(folder, how):
    """tiny_clothes in two shards, whose records are laid out in one of these ways."""
    made = conftest.prepare(folder, num_shards=SHARDS)
    images = np.split(conftest.make_images(1000), SHARDS)
    labels = np.split(conftest.make_labels(1000), SHARDS)
    for shard in range(SHARDS):
        rows = np.concatenate(list(tfrecord.encode(images[shard], labels[shard])))
        path = str(conftest.shard_path(made, index=shard))
        with tf.io.TFRecordWriter(path) as writer:
            for record, orders in enumerate(tfrecord.examples(rows)):
                writer.write(orders[ORDERS[how](shard, record)])
    return made


@pytest.fixture(params=ORDERS)
def builder(tmp_path, request):
    """tiny_clothes laid out in each of these ways."""
    return _laid_out(tmp_path, request.param)


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
    name = conftest.flip(builder, 301 * tfrecord.RECORD_BYTES + 400, index=1)
    wanted = rf"{name}: record 301 of 500 is damaged: its bytes do not match its crc32c"
    with pytest.raises(errors.RecordError, match=wanted):
        input_pipeline.make_train(33, builder=builder, source=source)


@pytest.mark.parametrize("make", [input_pipeline.make_train, input_pipeline.make_eval])
def test_checkpoint_of_records_that_are_read_otherwise_is_refused(tmp_path, make):
    # The same examples, mapped there and parsed here: tf.data's states are not of one kind.
    mapped, parsed = (
        _laid_out(tmp_path / how, how) for how in ("image first", "both in each shard")
    )
    arguments = {"split": "train", "source": "stream", "verify": False}
    iterator = iter(make(50, builder=mapped, **arguments))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    other = iter(make(50, builder=parsed, **arguments))
    with pytest.raises(errors.ConfigError, match="by_record=False"):
        tf.train.Checkpoint(iterator=other).restore(path)
