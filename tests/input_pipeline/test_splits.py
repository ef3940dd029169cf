"""Slices of a split: their examples, once, sharded, proved with the split they are cut from."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline.shards import prepared

from . import conftest

SOURCES = ["resident", "stream"]
SLICES = {
    "train[:90%]": (0, 900),
    "train[90%:]": (900, 1000),
    "train[130:777]": (130, 777),
    "train[-250:]": (750, 1000),
    "train[:5]": (0, 5),
    "train": (0, 1000),
    "test[100:]": (100, 301),
}


# Looked up in memory, looked up in the mapped files, and read record by record.
KINDS = [("stored", "resident"), ("stored", "stream"), ("compressed", "stream")]


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    """Both encodings, in three shards."""
    return {
        kind: conftest.prepare(tmp_path_factory.mktemp(f"splits-{kind}"), kind, 3)
        for kind in ("stored", "compressed")
    }


def _seen(builder, make, batch=50, **arguments):
    arguments = {"dtype": "uint8", "verify": False, **arguments}
    return conftest.read_numbers(make(batch, builder=builder, **arguments))


def test_halves_side_by_side_are_the_whole(builders):
    whole = prepared.select(builders["stored"], "train")
    assert prepared.select(builders["stored"], "train[:40%]+train[40%:]") == whole
    assert whole.is_whole
    # Across the border of two files as well.
    assert prepared.select(builders["stored"], "train[100:900]").spans == ((100, 900),)


@pytest.mark.parametrize(
    ("kind", "source", "split"),
    [
        *(("stored", "resident", split) for split in SLICES),
        *((*kind, split) for kind in KINDS[1:] for split in ("train[130:777]", "train[:5]")),
    ],
)
def test_slice_is_its_examples_once(builders, kind, source, split):
    builder, (first, stop) = builders[kind], SLICES[split]
    batch = min(50, stop - first)
    train = _seen(builder, input_pipeline.make_train, batch, split=split, source=source)
    assert sorted(train) == list(range(first, stop))
    assert batch < 6 or train.tolist() != sorted(train)
    ordered = _seen(builder, input_pipeline.make_eval, batch, split=split, source=source)
    assert sorted(ordered) == list(range(first, stop))
    if source == "resident":
        assert ordered.tolist() == list(range(first, stop))


def _both(builder, make, **arguments):
    """Pixels of all examples, in the order seen: train has 1,000, test 301 of other noise."""
    batches = make(30, builder=builder, dtype="uint8", verify=False, **arguments)
    return np.concatenate([images for images, _ in batches])[..., 0]


@pytest.mark.parametrize(("kind", "source"), KINDS)
@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("test+train", {"test": (0, 301), "train": (0, 1000)}),
        ("train[900:]+test[:50]+train[:7]", {"train": (900, 1007), "test": (0, 50)}),
    ],
)
def test_several_splits_give_each_example_once(builders, kind, split, parts, source):
    builder = builders[kind]
    images = {name: conftest.make_images(size) for name, size in conftest.SIZES.items()}
    expected = sorted(
        images[name][number % len(images[name])].tobytes()
        for name, (first, stop) in parts.items()
        for number in range(first, stop)
    )
    train, test = input_pipeline.make_train, input_pipeline.make_eval
    shares = [_both(builder, train, split=split, source=source, shard=(i, 2)) for i in (0, 1)]
    whole = (_both(builder, make, split=split, source=source) for make in (train, test))
    for seen in (np.concatenate(shares), *whole):
        assert sorted(image.tobytes() for image in seen) == expected


def test_several_splits_in_order_are_one_after_the_other(builders):
    found = _both(builders["stored"], input_pipeline.make_eval, split="test+train")
    expected = np.concatenate([conftest.make_images(301), conftest.make_images(1000)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_of_several_splits_is_proved(fresh, known, source, split):
    input_pipeline.make_train(50, builder=fresh, split="train+test", source=source)
    path = conftest.shard_path(fresh, split)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises((errors.RecordError, errors.ContentError)):
        input_pipeline.make_train(50, builder=fresh, split="train+test", source=source)


@pytest.mark.parametrize(("kind", "source"), KINDS)
@pytest.mark.parametrize("drop", [False, True])
def test_workers_share_a_slice_without_overlap(builders, kind, source, drop):
    parts = [
        _seen(
            builders[kind],
            input_pipeline.make_train,
            10,
            split="train[100:900]",
            source=source,
            shard=(index, 3),
            drop_remainder=drop,
        )
        for index in range(3)
    ]
    together = np.concatenate(parts)
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(100, 900))
    assert drop or len(together) == 800
    assert not drop or len({len(part) for part in parts}) == 1


def test_hold_out_and_rest_leave_nothing_and_share_nothing(builders):
    held, rest = (
        _seen(builders["stored"], input_pipeline.make_train, split=split)
        for split in ("train[85%:]", "train[:85%]")
    )
    assert not set(held) & set(rest)
    assert set(held) | set(rest) == set(range(1000))


def test_even_splits_of_tfds_are_taken(builders):
    parts = [
        _seen(builders["stored"], input_pipeline.make_train, split=part)
        for part in tfds.even_splits("train", 3)
    ]
    assert sorted(np.concatenate(parts)) == list(range(1000))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_order_of_the_whole_split_is_what_it_was(tiny):
    whole = _seen(tiny, input_pipeline.make_train, split="train", seed=0)
    assert whole[:8].tolist() == [874, 779, 959, 264, 888, 190, 859, 285]
    spelled = _seen(tiny, input_pipeline.make_train, split="train[0:1000]", seed=0)
    np.testing.assert_array_equal(whole, spelled)


@pytest.mark.parametrize("source", SOURCES)
def test_slice_is_proved_with_the_split_that_it_is_cut_from(fresh, known, source):
    input_pipeline.make_train(50, builder=fresh, split="train[:10%]", source=source)
    path = conftest.shard_path(fresh)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1  # in the last record, which the slice does not hold
    path.write_bytes(data)
    with pytest.raises((errors.RecordError, errors.ContentError)):
        input_pipeline.make_train(50, builder=fresh, split="train[:10%]", source=source)


def test_slices_are_normalised_by_the_whole_training_split(tiny):
    images = conftest.make_images(1000).astype(np.float64)[..., None]
    batches = input_pipeline.make_eval(
        50, builder=tiny, split="train[:100]", verify=False, normalize="standard"
    )
    found = np.concatenate([np.asarray(x, np.float64) for x, _ in batches])
    np.testing.assert_allclose(found, (images[:100] - images.mean()) / images.std(), atol=1e-5)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("validation", "split: expected one of"),
        ("validation[:10%]", "split: expected one of"),
        ("train[10:10]", "has no examples"),
        ("train[900:100]", "has no examples"),
        ("train[:90", "split: expected one of"),
        ("train[:10%]+train[5%:60%]", "holds examples twice"),
        (None, "split: expected one of"),
        (7, "split: expected one of"),
    ],
)
def test_split_that_is_none_is_one_sentence(tiny, split, message):
    with pytest.raises(errors.ArgumentError, match=message):
        input_pipeline.make_train(1, builder=tiny, split=split)


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        ("train[:500]", "train[500:]"),
        ("train[:500]", "train"),
        ("train", "train[:500]"),
        ("train[:100]+train[900:]", "train[:200]"),
    ],
)
def test_checkpoint_of_another_slice_is_refused(tiny, tmp_path, saved, other):
    import tensorflow as tf

    def make(split):
        return iter(input_pipeline.make_train(10, builder=tiny, split=split, verify=False))

    iterator = make(saved)
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    with pytest.raises(errors.ConfigError, match="span="):
        tf.train.Checkpoint(iterator=make(other)).restore(path)
