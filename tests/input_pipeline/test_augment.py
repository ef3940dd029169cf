"""augment.py: what is drawn follows the example and the epoch, the same in numpy and TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import augment, preprocess

from . import conftest

SOURCES = ["resident", "stream"]
ALL = ("flip", "crop", "cutout", "erase")


def _images(builder, batch=50, **arguments):
    """Images of each epoch by the number of the example: uint8[epochs, 1000, 28, 28, 1]."""
    arguments = {"epochs": 3, "seed": 4, "augment": ALL, **arguments}
    made = {"builder": builder, "verify": False, "dtype": "uint8"}
    batches = input_pipeline.make_train(batch, **made, **arguments)
    plain = input_pipeline.make_train(batch, **made, **{**arguments, "augment": None})
    found = np.concatenate([images for images, _ in batches])
    order = np.concatenate([conftest.numbers(images) for images, _ in plain])
    epochs = len(order) // 1000
    result = np.empty((epochs, 1000, 28, 28, 1), np.uint8)
    for epoch, images, numbers in zip(
        result, np.split(found, epochs), np.split(order, epochs), strict=True
    ):
        epoch[numbers] = images
    return result


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    return conftest.prepare(tmp_path_factory.mktemp("augment"), "compressed")


def test_draws_do_not_depend_on_the_batch_size_or_the_source(tiny, compressed):
    expected = _images(tiny)
    for arguments in ({"batch": 60}, {"batch": 1000}, {"source": "stream"}, {"parallel": 1}):
        np.testing.assert_array_equal(_images(tiny, **arguments), expected)
    np.testing.assert_array_equal(_images(compressed, batch=64, source="stream"), expected)
    for other in (expected[1], expected[2]):
        assert (other != expected[0]).any((1, 2, 3)).mean() > 0.9


def test_workers_draw_what_a_single_one_draws(tiny):
    expected = _images(tiny, epochs=1)[0]
    for index in range(2):
        arguments = {"builder": tiny, "verify": False, "seed": 4, "shard": (index, 2)}
        made, plain = (
            input_pipeline.make_train(100, dtype="uint8", augment=how, **arguments)
            for how in (ALL, None)
        )
        for (images, _), (same, _) in zip(made, plain, strict=True):
            np.testing.assert_array_equal(images, expected[conftest.numbers(same)])


@pytest.mark.parametrize("source", SOURCES)
def test_altflip_flips_every_image_in_every_other_epoch(tiny, source):
    epochs = _images(tiny, augment="altflip", epochs=4, source=source)
    plain = conftest.make_images(1000)[..., None]
    flips = (epochs != plain).any((2, 3, 4))
    np.testing.assert_array_equal(epochs[0][flips[0]], plain[:, :, ::-1][flips[0]])
    assert 400 < flips[0].sum() < 600
    np.testing.assert_array_equal(flips[0], ~flips[1])
    np.testing.assert_array_equal(flips[::2], [flips[0], flips[0]])
    np.testing.assert_array_equal(flips[1::2], [flips[1], flips[1]])


def test_altflip_begins_with_other_images_for_another_seed(tiny):
    plain = conftest.make_images(1000)[..., None]
    one, other = (
        (_images(tiny, augment="altflip", epochs=2, seed=seed)[0] != plain).any((1, 2, 3))
        for seed in (4, 5)
    )
    assert 400 < (one != other).sum() < 600


@pytest.mark.parametrize("more", [{"epochs": 1}, {"service": "grpc://127.0.0.1:1"}])
def test_altflip_without_numbered_epochs_is_refused(tiny, more):
    with pytest.raises(errors.ArgumentError, match="altflip needs the numbers of the epochs"):
        input_pipeline.make_train(50, builder=tiny, augment="altflip", **more)
    with pytest.raises(errors.ArgumentError, match="does not know the epoch"):
        input_pipeline.Preprocess(augment="altflip")


def test_erase_blackens_a_rectangle_of_half_of_the_images(tiny):
    epoch = _images(tiny, augment="erase", epochs=1)[0, ..., 0]
    plain = conftest.make_images(1000)
    changed = (epoch != plain).any((1, 2))
    assert 400 < changed.sum() < 600
    shares, aspects = [], []
    for image, before in zip(epoch[changed], plain[changed], strict=True):
        rows, columns = np.nonzero(image != before)
        hole = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert not image[hole].any()
        shares.append(image[hole].size / image.size)
        aspects.append(np.divide(*image[hole].shape))
    # 2 to 33 % in whole pixels: none is cut off at the edge of the image.
    assert 0.016 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.35
    assert min(aspects) < 0.4
    assert max(aspects) > 2.5


def test_crop_and_cutout_take_sizes(tiny):
    plain = conftest.make_images(1000)[..., None]
    moved = _images(tiny, augment="crop", epochs=1, crop_pixels=5)[0]
    black_rows = [int((image == 0).all((1, 2)).sum()) for image in moved]
    assert max(black_rows) == 5
    holes = (_images(tiny, augment="cutout", epochs=1, cutout_pixels=3)[0] != plain).sum((1, 2, 3))
    assert holes.max() == 9


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("words", [*ALL, "altflip", ("altflip", "crop", "cutout", "erase")])
def test_numpy_and_tensorflow_draw_and_move_alike(words, dtype):
    how = augment.recipe(dtype, "unit", words, seed=-3)
    images = np.random.default_rng(1).integers(0, 256, (500, 28, 28, 1), np.uint8)
    numbers, keys = np.arange(500, dtype=np.int32) * 119, np.full(500, (7 << 32) + 0xFFFFFFFF)
    draws = augment.draw(how, numbers, keys, augment.NUMPY)
    theirs = preprocess.host_draws(how, tf.constant(numbers), tf.constant(keys))
    assert draws.keys() == theirs.keys()
    for name, drawn in draws.items():
        np.testing.assert_array_equal(drawn, theirs[name])
    moved = augment.apply(images, draws, how, augment.NUMPY)
    ours = augment.finish(moved, how, augment.NUMPY, dtype)
    np.testing.assert_array_equal(ours, preprocess.host(tf.constant(images), theirs, how))
    assert (moved != images).any()


def test_draws_are_uniform_and_independent_of_each_other():
    how = augment.recipe("uint8", "unit", ALL)
    keys = np.full(60_000, 12345)
    draws = augment.draw(how, np.arange(60_000), keys, augment.NUMPY)
    for name, (low, high) in augment.ranges(how).items():
        counts = np.bincount(draws[name] - low, minlength=high - low)
        expected = 60_000 / (high - low)
        # Chi-squared over its degrees of freedom lies near 1.
        assert 0.5 < ((counts - expected) ** 2 / expected).sum() / max(high - low - 1, 5) < 2.5 or (
            high - low < 3 and abs(counts[0] / 30_000 - 1) < 0.02
        )
    values = np.stack([draws[name] for name in augment.ranges(how)]).astype(float)
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augment": "filp"}, "the nearest valid one is flip"),
        ({"augment": ("crop", "cut")}, "the nearest valid one is cutout"),
        ({"augment": ("flip", "altflip")}, "exclude each other"),
        ({"crop_pixels": 28}, "crop_pixels: expected 1 to 27 pixels"),
        ({"crop_pixels": 0}, "crop_pixels: expected 1 to 27 pixels"),
        ({"cutout_pixels": 2.5}, "cutout_pixels: expected 1 to 28 pixels"),
        ({"labels": "float"}, "labels: expected int64, int32 or one-hot, got 'float'"),
        ({"parallel": 0}, "parallel: expected at least 1"),
        ({"seed": 1 << 63}, "seed: expected a number of at most 64 bits"),
        ({"device": "/gpu:0"}, "device: TensorFlow sees no '/gpu:0' here; it sees cpu:0"),
        ({"device": "graphics"}, "device: "),
        ({"device": "/cpu:7"}, "device: TensorFlow sees no '/cpu:7' here; it sees cpu:0"),
        ({"device": 1.5}, 'device: expected a name such as "/gpu:0", got 1.5'),
        ({"device": b"/cpu:0"}, 'device: expected a name such as "/gpu:0", got b'),
    ],
)
def test_a_wrong_argument_is_one_sentence(tiny, arguments, message):
    with pytest.raises(errors.ArgumentError) as caught:
        input_pipeline.make_train(50, builder=tiny, verify=False, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("make", [input_pipeline.make_train, input_pipeline.make_eval])
def test_labels_come_as_numbers_or_one_hot(tiny, compressed, make, source):
    for builder in (tiny, compressed):
        found = {
            form: next(iter(make(50, builder=builder, verify=False, source=source, labels=form)))[1]
            for form in ("int64", "int32", "one-hot")
        }
        assert found["int64"].dtype == tf.int64
        assert found["int32"].dtype == tf.int32
        assert (found["one-hot"].dtype, found["one-hot"].shape) == (tf.float32, [50, 10])
        np.testing.assert_array_equal(found["int32"], found["int64"])
        np.testing.assert_array_equal(tf.argmax(found["one-hot"], 1), found["int64"])
