"""start=(epoch, step): each iteration begins there, as if the batches before had been skipped."""

import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline

from . import conftest

KINDS = [("stored", "resident"), ("stored", "stream"), ("compressed", "stream")]


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    return {
        kind: conftest.prepare(tmp_path_factory.mktemp(f"start-{kind}"), kind)
        for kind in ("stored", "compressed")
    }


def _batches(builder, batch, **arguments):
    arguments = {"seed": 6, "dtype": "uint8", "augment": "flip_crop", **arguments}
    return input_pipeline.make_train(batch, builder=builder, verify=False, **arguments)


def _assert_same(found, expected):
    assert len(found) == len(expected)
    for (images, labels), (images_expected, labels_expected) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, images_expected)
        np.testing.assert_array_equal(labels, labels_expected)


@pytest.mark.parametrize(
    ("kind", "source", "batch", "drop", "augment"),
    [
        *((*kind, 60, False, None) for kind in KINDS),
        *((*kind, 600, False, ("altflip", "crop")) for kind in KINDS),
        ("stored", "resident", 50, True, ("altflip", "crop")),
        ("compressed", "stream", 600, True, None),
    ],
)
def test_start_leaves_what_skip_would_leave(builders, kind, source, batch, drop, augment):
    steps = 1000 // batch if drop else -(-1000 // batch)
    more = {"source": source, "drop_remainder": drop, "augment": augment, "epochs": 3}
    whole = _batches(builders[kind], batch, **more)
    first, second = list(whole), list(whole)
    for epoch, step in ((1, 0), (1, 1 % steps), (2, steps - 1), (3, 0)):
        batches = _batches(builders[kind], batch, start=(epoch, step), **more)
        skipped = epoch * steps + step
        assert batches.cardinality() == 3 * steps - skipped
        _assert_same(list(batches), first[skipped:])
        if epoch == 2:  # every iteration begins there, not the first alone
            _assert_same(list(batches), second[skipped:])


@pytest.mark.parametrize(("kind", "source"), KINDS)
def test_start_of_a_worker_without_end(builders, kind, source):
    more = {"source": source, "shard": (1, 2), "epochs": None}
    whole = list(_batches(builders[kind], 64, **more).take(40))
    steps = int(_batches(builders[kind], 64, **{**more, "epochs": 1}).cardinality())
    batches = _batches(builders[kind], 64, start=(2, 3), **more)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    _assert_same(list(batches.take(10)), whole[2 * steps + 3 : 2 * steps + 13])


def test_start_far_into_training_makes_no_batch_in_vain(builders):
    far = _batches(builders["stored"], 50, epochs=None, start=(10**6, 3))
    epoch = np.concatenate([labels for _, labels in far.take(17)])
    assert len(epoch) == 850


def test_checkpoint_of_another_start_is_refused(builders, tmp_path):
    def iterator(start):
        return iter(_batches(builders["stored"], 50, epochs=3, start=start))

    path = tf.train.Checkpoint(iterator=iterator((1, 2))).save(str(tmp_path / "state"))
    same = iterator((1, 2))
    tf.train.Checkpoint(iterator=same).restore(path)
    _assert_same(list(same), list(iterator((1, 2))))
    with pytest.raises(errors.ConfigError, match=r"start=\(1, 2\)"):
        tf.train.Checkpoint(iterator=iterator((1, 3))).restore(path)


@pytest.mark.parametrize("start", [(3, 1), (4, 0), (-1, 0), (0, 20), (0, -1), (1.5, 0), 3, None])
def test_start_outside_of_the_epochs_is_one_sentence(tiny, start):
    with pytest.raises(errors.ArgumentError, match="start: expected"):
        _batches(tiny, 50, epochs=3, start=start)


def test_start_under_a_service_is_refused(tiny):
    with pytest.raises(errors.ArgumentError, match="start: a service promises no order"):
        _batches(tiny, 50, service="grpc://127.0.0.1:1", start=(0, 1))
