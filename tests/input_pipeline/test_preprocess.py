"""preprocess.py: one definition on the host and on the device, exactly equal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import preprocess

AUGMENTS = [None, "flip", "crop", "cutout", "flip_crop", "flip_crop_cutout", ("erase", "crop")]


def _images(count=64):
    return np.random.default_rng(1).integers(0, 256, (count, 28, 28, 1), np.uint8)


def _draws(how, count=64, seed=5):
    return preprocess.host_draws(
        how, tf.range(count), tf.fill([count], tf.constant(seed, tf.int64))
    )


# Pixels move as uint8 before anything else happens to them: every augmentation, and every dtype.
@pytest.mark.parametrize(
    ("augment", "normalize", "dtype"),
    [
        *((augment, "standard", "float32") for augment in AUGMENTS),
        ("flip_crop_cutout", "unit", "float32"),
        *(
            ("flip_crop_cutout", normalize, dtype)
            for normalize in ("unit", "standard")
            for dtype in ("bfloat16", "float16")
        ),
    ],
)
@pytest.mark.parametrize("jit", [False, True])
def test_layer_equals_host_exactly_for_given_draws(augment, normalize, dtype, jit):
    how = augmentation.recipe(dtype, normalize, augment)
    draws = _draws(how)
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    layer = input_pipeline.Preprocess(normalize, augment, dtype=policy)
    step = tf.function(lambda x, d: layer(x, draws=d), jit_compile=jit)
    ours = preprocess.host(tf.constant(_images()), draws, how)
    assert ours.dtype == tf.as_dtype(dtype)
    np.testing.assert_array_equal(step(tf.constant(_images()), draws).numpy(), ours.numpy())


def test_unit_lies_in_0_to_1_and_uint8_stays_as_it_is():
    images = tf.constant(np.arange(256, dtype=np.uint8).repeat(49).reshape(-1, 28, 28, 1))
    unit = preprocess.host(images, {}, augmentation.recipe("float32", "unit", None)).numpy()
    assert (unit.min(), unit.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(unit, images.numpy().astype(np.float32) * np.float32(1 / 255))
    same = preprocess.host(images, {}, augmentation.recipe("uint8", "unit", None))
    np.testing.assert_array_equal(same, images)


def test_draws_mean_what_they_say():
    images = _images(1)
    how = augmentation.recipe("uint8", "unit", "flip_crop_cutout")
    names = ("flip", "down", "right", "top", "left")

    def moved(**given):
        draws = {n: tf.constant([given.get(n, -100 if n in ("top", "left") else 0)]) for n in names}
        return preprocess.host(tf.constant(images), draws, how).numpy()

    np.testing.assert_array_equal(moved(), images)
    np.testing.assert_array_equal(moved(flip=1), images[:, :, ::-1])
    shifted = moved(down=2, right=-1)
    np.testing.assert_array_equal(shifted[:, :-2, 1:], images[:, 2:, :-1])
    assert not shifted[:, -2:].any()
    assert not shifted[:, :, :1].any()
    hole = moved(top=3, left=25)
    assert not hole[:, 3:11, 25:].any()
    np.testing.assert_array_equal(hole[:, :, :25], images[:, :, :25])


def test_host_draws_differ_by_batch_and_repeat_for_a_seed():
    how = augmentation.recipe("uint8", "unit", "flip_crop_cutout")
    one, same, other = _draws(how), _draws(how), _draws(how, seed=6)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)
    many = _draws(how, 4000)
    assert (int(tf.reduce_min(many["down"])), int(tf.reduce_max(many["down"]))) == (-2, 2)
    assert 0.45 < float(tf.reduce_mean(tf.cast(many["flip"], tf.float32))) < 0.55


def test_layer_augments_only_in_training_and_anew_each_time():
    layer = input_pipeline.Preprocess(augment="flip_crop_cutout", seed=1)
    images = _images()
    still = layer(images, training=False).numpy()
    np.testing.assert_array_equal(still, images.astype(np.float32) * np.float32(1 / 255))
    first, second = layer(images, training=True).numpy(), layer(images, training=True).numpy()
    assert not np.array_equal(first, still)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("is_saved", [False, True])
def test_layer_moves_and_blackens_as_far_as_it_was_told(is_saved):
    layer = input_pipeline.Preprocess(augment="crop_cutout", crop_pixels=5, cutout_pixels=3)
    if is_saved:
        layer = input_pipeline.Preprocess.from_config(layer.get_config())
    draws = {name: keras.ops.convert_to_numpy(drawn) for name, drawn in layer.draw(4000).items()}
    assert {(drawn.min(), drawn.max()) for drawn in draws.values()} == {(-5, 5), (-2, 27)}
    still = {"down": [0], "right": [0], "top": [10], "left": [10]}
    images = np.full((1, 28, 28, 1), 255, np.uint8)
    found = layer(images, draws={name: tf.constant(drawn) for name, drawn in still.items()})
    assert int(keras.ops.sum(found == 0)) == 9


def test_layers_of_one_seed_draw_alike_and_of_another_otherwise():
    one, same, other = (
        keras.ops.convert_to_numpy(
            input_pipeline.Preprocess(augment="crop", seed=s).draw(99)["down"]
        )
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_layer_trains_inside_a_compiled_model_and_survives_saving(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), dtype="uint8"),
            input_pipeline.Preprocess("standard", "flip_crop"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=True)
    model.fit(_images(), np.arange(64) % 10, batch_size=32, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = tf.constant(_images(4))
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments", [("float64", "unit", None), ("float32", "max", None), ("float32", "unit", "turn")]
)
def test_recipe_refuses_unknown_words(arguments):
    with pytest.raises(errors.ArgumentError, match="expected one of"):
        augmentation.recipe(*arguments)
