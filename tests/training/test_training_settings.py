"""Every key of [training] reaches what it is for; looked at where the training would begin."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest
import stand_in

from fmnist_tfds import catalog, errors, input_pipeline
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import models
from fmnist_tfds.training import train as training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return stand_in.prepare(tmp_path_factory.mktemp("tfds"))


class Begun(Exception):
    """What training was about to do."""

    def __init__(self, model, train, options):
        super().__init__()
        self.model, self.train, self.held_out = model, train, options["validation_data"]
        self.options = options

    def first_epoch(self):
        """(images uint8[n, 28, 28, 1], labels int64[n]) of the first epoch."""
        steps = self.options["steps_per_epoch"]
        return _joined(self.train.take(steps))

    def weights(self):
        return [np.asarray(variable) for variable in self.model.trainable_variables]


def _joined(batches):
    parts = [(np.asarray(images), np.asarray(labels)) for images, labels in batches]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@pytest.fixture
def begin(data_dir, tmp_path, monkeypatch):
    """Calls train_and_evaluate with changed settings, up to the first step."""

    def fit(model, train, **options):
        raise Begun(model, train, options)

    monkeypatch.setattr(keras.Model, "fit", fit)

    def run(workdir=None, **changes):
        changes = {"split": "train", "validation_split": "", **changes}
        where = workdir or tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        with pytest.raises(Begun) as caught:
            training.train_and_evaluate(stand_in.settings(data_dir, **changes), where)
        return caught.value

    return run


def test_seed_decides_the_order_and_the_first_weights(begin):
    one, same, other = (begin(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.first_epoch()[0], same.first_epoch()[0])
    assert not np.array_equal(one.first_epoch()[0], other.first_epoch()[0])
    for ours, equal, different in zip(one.weights(), same.weights(), other.weights(), strict=True):
        np.testing.assert_array_equal(ours, equal)
        assert not ours.any() or not np.array_equal(ours, different)  # biases are zeros


@pytest.mark.parametrize("source", ["resident", "stream"])
def test_seed_source_and_augment_give_the_batches_of_make_train(begin, data_dir, source):
    begun = begin(seed=3, source=source, augment="flip_crop", batch_size=50)
    batches = input_pipeline.make_train(
        50,
        name="fmnist_synthetic",
        data_dir=data_dir,
        seed=3,
        source=source,
        augment="flip_crop",
        dtype="uint8",
        drop_remainder=True,
        verify=False,
    )
    for ours, theirs in zip(begun.first_epoch(), _joined(batches), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_images_are_those_of_the_training_split_changed_only_where_asked(begin):
    genuine = {image.tobytes() for image in stand_in.arrays("train")[0]}
    plain, _ = begin().first_epoch()
    assert {image.tobytes() for image in plain} == genuine
    flipped, _ = begin(augment="flip").first_epoch()
    kept = sum(image.tobytes() in genuine for image in flipped)
    assert 0.3 < kept / len(flipped) < 0.7


def test_batch_size_and_epochs_decide_the_steps(begin):
    begun = begin(batch_size=70, epochs=3)
    shapes = {images.shape for images, _ in begun.train}
    assert shapes == {(70, 28, 28, 1)}  # 20 of 1,000 are left out of each epoch
    assert begun.options["steps_per_epoch"] == 14
    assert begun.options["epochs"] == 3
    assert int(begun.train.cardinality()) == 42


def test_validation_is_on_the_hold_out_as_it_is_by_its_own_batch_size(begin):
    begun = begin(
        eval_batch_size=80, augment="flip", split="train[:800]", validation_split="train[800:]"
    )
    assert [len(labels) for _, labels in begun.held_out] == [80, 80, 40]
    images, labels = _joined(begun.held_out)
    wanted, classes = stand_in.arrays("train")
    np.testing.assert_array_equal(images[..., 0], wanted[800:])
    np.testing.assert_array_equal(labels, classes[800:])
    trained_on, _ = begin(split="train[:800]").first_epoch()
    genuine = {image.tobytes() for image in wanted[:800]}
    assert {image.tobytes() for image in trained_on} == genuine


def test_smoothed_labels_give_a_tenth_of_the_loss_to_all_classes(begin):
    plain, smooth = begin(), begin(label_smoothing=0.1)
    images, classes = plain.first_epoch()
    same, one_hot = smooth.first_epoch()
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(one_hot, np.eye(10)[classes])
    logits = np.random.default_rng(0).normal(size=(len(classes), 10)).astype(np.float32)
    likelihoods = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -np.mean(likelihoods[np.arange(len(classes)), classes])
    assert float(plain.model.loss(classes, logits)) == pytest.approx(wanted, rel=1e-5)
    wanted = 0.9 * wanted - 0.1 * np.mean(likelihoods)
    assert float(smooth.model.loss(one_hot, logits)) == pytest.approx(wanted, rel=1e-5)


def test_hold_out_of_a_smoothed_training_has_labels_for_its_loss(begin):
    settings = {"split": "train[:800]", "validation_split": "train[800:]"}
    _, classes = _joined(begin(**settings).held_out)
    _, one_hot = _joined(begin(label_smoothing=0.1, **settings).held_out)
    np.testing.assert_array_equal(one_hot, np.eye(10)[classes])


def test_a_tenth_is_held_out_where_nothing_else_is_said(begin):
    config = training_config.TrainingConfig()
    begun = begin(split=config.split, validation_split=config.validation_split)
    assert len(begun.first_epoch()[1]) == 900
    assert len(_joined(begun.held_out)[1]) == 100


def test_nothing_is_validated_where_nothing_is_held_out(begin):
    assert begin(validation_split="").held_out is None


@pytest.mark.parametrize("held_out", ["train[70%:]", "train"])
def test_an_example_both_trained_on_and_held_out_is_refused(data_dir, tmp_path, held_out):
    changes = {"split": "train[:80%]", "validation_split": held_out}
    with pytest.raises(errors.ArgumentError, match="holds examples twice"):
        training.train_and_evaluate(stand_in.settings(data_dir, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_and_test_images_are_normalised_by_the_training_split(begin):
    """By the model itself, so that both, and those of who uses it, are treated alike."""
    train, test = (stand_in.arrays(split)[0][..., None] for split in ("train", "test"))
    mean, deviation = train.mean(), train.std()
    seen = {}
    for normalize in ("unit", "standard"):
        begun = begin(normalize=normalize)
        assert begun.first_epoch()[0].dtype == np.uint8
        first = begun.model.layers[0]
        seen[normalize] = [np.asarray(first(images)) for images in (train, test)]
    for images, unit in zip((train, test), seen["unit"], strict=True):
        np.testing.assert_allclose(unit, images / 255, rtol=1e-5)
    for images, standard in zip((train, test), seen["standard"], strict=True):
        np.testing.assert_allclose(standard, (images - mean) / deviation, atol=1e-4)


def test_learning_rate_falls_by_a_cosine_over_all_epochs(begin):
    optimizer = begin(learning_rate=0.25, epochs=4).model.optimizer  # 40 steps
    found = []
    for step in (0, 10, 20, 30, 40):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    wanted = [0.125 * (1 + np.cos(np.pi * part)) for part in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(("schedule", "third"), [("cosine", 0.1875), ("linear", 1 / 6)])
def test_learning_rate_rises_to_its_peak_in_the_warm_up_and_falls_to_nothing(
    begin, schedule, third
):
    settings = {"learning_rate": 0.25, "epochs": 4, "warmup": 0.25}  # 40 steps
    optimizer = begin(schedule=schedule, **settings).model.optimizer
    found = []
    for step in (0, 5, 10, 20, 25, 40):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(found, [0, 0.125, 0.25, third, 0.125, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "computes"),
    [("float32", "float32"), ("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")],
)
def test_precision_is_that_of_the_layers_and_of_nothing_else(begin, precision, computes):
    before = keras.mixed_precision.dtype_policy().name
    layers = begin(precision=precision).model.layers
    assert keras.mixed_precision.dtype_policy().name == before
    weighty = [layer for layer in layers if layer.weights]
    assert {layer.compute_dtype for layer in weighty[:-1]} == {computes}
    assert {layer.variable_dtype for layer in weighty} == {"float32"}
    assert weighty[-1].compute_dtype == "float32", "the logits"
    assert layers[0].compute_dtype == "float32", "the pixels, before they are normalised"


@pytest.mark.parametrize(
    ("gpu", "asked", "jit"),
    [(False, "auto", False), (True, "auto", True), (True, "off", False), (False, "on", True)],
)
def test_jit_compile_is_as_asked_and_else_where_a_gpu_is(begin, monkeypatch, gpu, asked, jit):
    import tensorflow as tf

    listed = tf.config.list_physical_devices

    def devices(kind=None):
        return ["one"] * gpu if kind == "GPU" else listed(kind)

    monkeypatch.setattr(tf.config, "list_physical_devices", devices)
    begun = begin(jit_compile=asked)
    assert begun.model.jit_compile is jit
    wanted = "bfloat16" if gpu else "float32"
    assert begun.model.layers[1].compute_dtype == wanted, 'precision = "auto"'


def test_model_is_the_one_asked_for(begin):
    names = ("small_cnn", "fast_cnn", "wide_cnn")
    small, fast, wide = (begin(model=name).model.count_params() for name in names)
    assert 0.3e6 < fast < small < 0.5e6
    assert 3.5e6 < wide < 4e6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fused_batch_normalization_is_that_of_keras(dtype):
    """Outputs, gradients and moving statistics; the variance of what moves is Bessel's."""
    import tensorflow as tf

    pixels = keras.random.normal((64, 7, 7, 16), 3.0, 2.0, seed=0)
    found = []
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype]
    for layer_class in (models._fused_batch_normalization(), keras.layers.BatchNormalization):
        layer = layer_class(momentum=0.8, epsilon=1e-5, dtype=policy)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            outputs = layer(pixels, training=True)
            loss = tf.reduce_mean(tf.cast(outputs, "float32") ** 3)
        gradients = tape.gradient(loss, [pixels, *layer.trainable_variables])
        after = layer(pixels, training=False)
        found.append([outputs, *gradients, *layer.non_trainable_variables, after])
    tolerance = {"float32": 1e-3, "bfloat16": 3e-2}[dtype]
    for ours, theirs in zip(*found, strict=True):
        ours, theirs = (np.asarray(keras.ops.cast(a, "float32")) for a in (ours, theirs))
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * theirs.std())


@pytest.mark.parametrize("wrong", ["train", "test"])
def test_training_proves_its_data(begin, data_dir, tmp_path, monkeypatch, wrong):
    monkeypatch.setitem(catalog.DATASETS, "fmnist_synthetic", stand_in.known())
    begin(verify=True)
    monkeypatch.setitem(catalog.DATASETS, "fmnist_synthetic", stand_in.known(wrong=wrong))
    with pytest.raises(errors.ContentError):
        training.train_and_evaluate(stand_in.settings(data_dir, verify=True), tmp_path / "refused")
    begin(verify=False)


def test_data_set_and_data_dir_are_those_asked_for(data_dir, tmp_path):
    config = training_config.TrainingConfig(data_dir=str(data_dir))
    with pytest.raises(errors.NotPreparedError, match=f"fmnist_resilient in {data_dir}"):
        training.train_and_evaluate(config, tmp_path / "run")


def test_data_set_without_an_entry_is_refused_by_name(tmp_path):
    config = training_config.TrainingConfig(dataset="nobodys", data_dir=str(tmp_path))
    with pytest.raises(errors.ConfigError, match="nobodys has no entry in the catalog"):
        training.train_and_evaluate(config, tmp_path / "work")


def test_workdir_of_another_configuration_is_refused_and_left_as_it_is(begin, data_dir, tmp_path):
    run = tmp_path / "run"
    begin(workdir=run)
    before = {path: path.read_bytes() for path in run.iterdir()}
    begin(workdir=run)  # the same again is no other
    for changes, said in (
        ({"batch_size": 64}, "batch_size: 100 -> 64"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"augment": "flip"}, "augment: '' -> 'flip'"),
    ):
        with pytest.raises(errors.ConfigError, match=said):
            training.train_and_evaluate(stand_in.settings(data_dir, **changes), run)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_data_that_was_moved_is_the_same_configuration(begin, data_dir, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    begin(workdir=run)
    moved.symlink_to(data_dir)
    with pytest.raises(Begun):
        training.train_and_evaluate(
            stand_in.settings(moved, split="train", validation_split=""), run
        )


def test_workdir_that_cannot_be_written_is_one_clear_error(data_dir, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(errors.StoreError, match="cannot write to the workdir"):
        training.train_and_evaluate(stand_in.settings(data_dir), blocker / "run")


def test_confusion_matrix_has_a_row_for_each_true_class():
    class Says:
        def predict_on_batch(self, images):
            return np.eye(10)[np.asarray(images).reshape(-1)]

    batches = [(np.array([3, 3]), np.array([3, 4])), (np.array([9]), np.array([4]))]
    counts = training.confusion_matrix(Says(), batches)
    wanted = np.zeros((10, 10), np.int64)
    wanted[3, 3] = wanted[4, 3] = wanted[4, 9] = 1
    np.testing.assert_array_equal(counts, wanted)


def test_test_time_flips_add_up_the_logits_of_an_image_and_its_mirror_image():
    class Says:
        """Class 0 for a pixel on the left, by 3; class 1 for one on the right, by 2."""

        def predict_on_batch(self, images):
            return images[:, 0, [0, -1], 0] * np.array([3.0, 2.0])

    left, right = np.zeros((2, 1, 2, 1))
    left[0, 0] = right[0, 1] = 1
    batches = [(np.stack([left, right]), np.array([0, 1])), (left[None], np.array([1]))]
    assert training.confusion_matrix(Says(), batches).trace() == 2
    flipped = training.confusion_matrix(Says(), batches, with_flips=True)
    assert flipped.trace() / flipped.sum() == 1 / 3


def _toml_table(name: str) -> dict:
    from fmnist_tfds.config import loader

    repo = pathlib.Path(__file__).resolve().parents[2]
    return loader.training_table(str(repo / "configs" / name))


def test_every_key_of_a_training_table_is_taken_over():
    table = _toml_table("training-gpu.toml")
    made = training_config.TrainingConfig.from_table(table)
    assert {key: getattr(made, key) for key in table} == table
