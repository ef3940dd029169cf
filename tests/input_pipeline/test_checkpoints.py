"""An iterator's checkpoint is continued exactly, or refused by a data set of other arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import sampler

from . import conftest

SAVED = {"batch_size": 25, "shard": (0, 2), "seed": 8, "epochs": 2, "dtype": "uint8"}
OTHERS = [
    ({"shard": (1, 2)}, "shard=(0, 2)"),
    ({"shard": None}, "shard=(0, 2)"),
    ({"shard": (0, 4)}, "shard=(0, 2)"),
    ({"batch_size": 50}, "batch_size=25"),
    ({"batch_size": 24}, "batch_size=25"),
    ({"seed": 9}, "seed=8"),
    ({"epochs": 3}, "epochs=2"),
    ({"epochs": None}, "epochs=2"),
    ({"drop_remainder": True}, "drop_remainder=False"),
    ({"augment": "flip"}, "augment=None"),
    ({"dtype": "float32"}, "dtype=uint8"),
    ({"dtype": "float32", "normalize": "standard"}, "mean=0.0"),
    ({"labels": "int32"}, "labels=int64"),
    ({"source": "stream"}, "source=resident"),
    ({"split": "test"}, "split=train"),
]


def _make(builder, make=input_pipeline.make_train, **arguments):
    return make(builder=builder, verify=False, **{**SAVED, **arguments})


def _save(batches, taken, path):
    iterator = iter(batches)
    for _ in range(taken):
        next(iterator, None)
    return tf.train.Checkpoint(iterator=iterator).save(str(path / "state"))


def _restore(batches, path):
    iterator = iter(batches)
    tf.train.Checkpoint(iterator=iterator).restore(path).expect_partial()
    return iterator


def _numbers(iterator):
    return [conftest.numbers(images).tolist() for images, _ in iterator]


@pytest.fixture(scope="module")
def saved_state(tiny, tmp_path_factory):
    return _save(_make(tiny), 5, tmp_path_factory.mktemp("checkpoint"))


@pytest.mark.parametrize(("other", "saved"), OTHERS, ids=lambda value: str(value))
def test_a_data_set_of_other_arguments_refuses_the_checkpoint(tiny, saved_state, other, saved):
    with pytest.raises(errors.ConfigError, match="belongs to a data set with") as caught:
        _restore(_make(tiny, **other), saved_state)
    assert saved in caught.value.message.partition(";")[0]


# Before the first batch, within an epoch, and after the end.
@pytest.mark.parametrize("taken", [0, 39, 41])
@pytest.mark.parametrize("source", ["resident", "stream"])
def test_a_checkpoint_is_refused_wherever_it_was_saved_and_continued_by_its_own(
    tiny, tmp_path, source, taken
):
    batches = _make(tiny, source=source)
    whole = _numbers(batches)
    path = _save(_make(tiny, source=source), taken, tmp_path)
    for other in ({"shard": (1, 2)}, {"batch_size": 50}, {"seed": 9}):
        with pytest.raises(errors.ConfigError, match="belongs to a data set with"):
            _restore(_make(tiny, source=source, **other), path)
    assert _numbers(_restore(_make(tiny, source=source), path)) == whole[taken:]


@pytest.mark.parametrize("taken", [0, 1, 40])
def test_what_is_made_from_the_batches_refuses_it_too(tiny, tmp_path, taken):
    def made(**arguments):
        return _make(tiny, **arguments).map(lambda images, labels: (images, labels)).take(40)

    path = _save(made(), taken, tmp_path)
    for other in ({"shard": (1, 2)}, {"batch_size": 50}, {"seed": 9}):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            next(_restore(made(**other), path))
        assert "belongs to another data set" in str(caught.value)
        assert "shard=(0, 2)" in str(caught.value)
    assert _numbers(_restore(made(), path)) == _numbers(made())[taken:]


def test_a_refused_checkpoint_leaves_the_iterator_as_it_was(tiny, tmp_path):
    path = _save(_make(tiny), 5, tmp_path)
    iterator = iter(_make(tiny, seed=9))
    with pytest.raises(errors.ConfigError):
        tf.train.Checkpoint(iterator=iterator).restore(path)
    assert _numbers(iterator) == _numbers(_make(tiny, seed=9))


def test_make_eval_and_make_train_refuse_each_others_checkpoints(tiny, tmp_path):
    def evaluation(**more):
        return input_pipeline.make_eval(
            25, builder=tiny, dtype="uint8", split="train", verify=False, **more
        )

    path = _save(evaluation(), 3, tmp_path)
    for other in (evaluation(shard=(0, 2)), evaluation(source="stream"), _make(tiny, shard=None)):
        with pytest.raises(errors.ConfigError, match="belongs to a data set with"):
            _restore(other, path)
    assert _numbers(_restore(evaluation(), path)) == _numbers(evaluation())[3:]


def test_other_data_and_another_version_of_the_order_are_refused(tiny, tmp_path, monkeypatch):
    other = conftest.prepare(tmp_path / "other", "compressed")
    path = _save(_make(tiny), 3, tmp_path)
    with pytest.raises(errors.ConfigError, match=r"data=tiny_clothes/1\.0\.0"):
        _restore(_make(other), path)
    monkeypatch.setattr(sampler, "VERSION", sampler.VERSION + 1)
    with pytest.raises(errors.ConfigError, match=f"order={sampler.VERSION - 1};"):
        _restore(_make(tiny), path)


@pytest.mark.parametrize("source", ["resident", "stream"])
def test_same_data_cut_into_other_shards_is_refused(tiny, tmp_path, source):
    # The order of a stream follows the files.
    recut = conftest.prepare(tmp_path / "recut", num_shards=3)
    path = _save(_make(tiny, source=source), 3, tmp_path)
    with pytest.raises(errors.ConfigError, match=r"shard_lengths=\[1000\]"):
        _restore(_make(recut, source=source), path)


@pytest.mark.parametrize("size", ["crop_pixels", "cutout_pixels"])
def test_other_sizes_are_refused_where_they_are_drawn(tiny, tmp_path, size):
    drawn = {"augment": size.removesuffix("_pixels"), size: 3}
    path = _save(_make(tiny, **drawn), 3, tmp_path)
    with pytest.raises(errors.ConfigError, match=f"{size}=3"):
        _restore(_make(tiny, **{**drawn, size: 4}), path)
    assert len(list(_restore(_make(tiny, **drawn), path))) == 37
    # Where nothing is cropped or cut out, the sizes change nothing.
    path = _save(_make(tiny), 3, tmp_path)
    assert len(list(_restore(_make(tiny, **{size: 4}), path))) == 37


def test_equal_arguments_in_other_words_are_the_same_data_set(tiny, tmp_path):
    path = _save(_make(tiny, augment="flip_crop", shard=None), 3, tmp_path)
    same = _make(tiny, augment="crop_flip", shard=(0, 1), batch_size=np.int64(25), seed=np.int64(8))
    assert len(list(_restore(same, path))) == 77


def test_a_checkpoint_manager_a_compiled_restore_and_a_copy_keep_the_owner(tiny, tmp_path):
    options = tf.train.CheckpointOptions(enable_async=True)
    checkpoint = tf.train.Checkpoint(iterator=iter(_make(tiny)), done=tf.Variable(3))
    next(checkpoint.iterator)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=1)
    path = manager.save(options=options)
    checkpoint.sync()
    assert _numbers(_restore(_make(tiny), path)) == _numbers(_make(tiny))[1:]
    other = tf.train.Checkpoint(iterator=iter(_make(tiny, seed=9)), done=tf.Variable(0))
    with pytest.raises(errors.ConfigError, match="seed=8"):
        other.restore(path)

    @tf.function
    def compiled():
        # As tf.train.Checkpoint does where a model lies on several devices.
        names = ("_STATE", "_OWNER")
        other.iterator._restore_from_tensors({name: tf.identity(saved[name]) for name in names})

    saved = checkpoint.iterator._serialize_to_tensors()
    with pytest.raises(tf.errors.OpError, match="seed=8"):
        compiled()


def test_batches_stay_usable_where_tensorflow_and_keras_take_data_sets(tiny):
    batches = _make(tiny, epochs=1, dtype="float32")
    assert isinstance(batches, tf.data.Dataset)

    @tf.function
    def count(source):
        total = 0
        for _, labels in source:
            total += tf.size(labels)
        return total

    @tf.function
    def first(iterator):
        return next(iterator)[1]

    assert count(batches) == 500
    assert len(first(iter(batches))) == 25
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert model.predict(batches, verbose=0).shape == (500, 10)


def test_batches_that_a_function_was_the_first_to_ask_for_stay_usable_outside_of_it(tiny):
    batches = _make(tiny, epochs=1)

    @tf.function
    def count():
        total = 0
        for labels in batches.map(lambda _, labels: labels):
            total += tf.size(labels)
        return total

    assert count() == 500
    assert sum(len(labels) for labels in batches.map(lambda _, labels: labels)) == 500
