"""numpy_batches gives make_train's batches, bit for bit, without TensorFlow."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import order, sampler

from . import conftest

DATA = conftest.make_images(1000), conftest.make_labels(1000)
KINDS = [
    {},
    {"batch_size": 7, "epochs": 3},
    {"batch_size": 1000, "seed": -5, "dtype": "uint8"},
    {"batch_size": 64, "seed": (1 << 63) - 1, "dtype": "float16", "drop_remainder": True},
    {"shard": (1, 3), "labels": "int32", "augment": "flip"},
    {"shard": (2, 3), "labels": "one-hot", "drop_remainder": True, "augment": ("crop", "erase")},
    {"epochs": 3, "start": (1, 7), "augment": "altflip_crop_cutout_erase", "crop_pixels": 4},
    {"normalize": "standard", "augment": "cutout", "cutout_pixels": 3},
]


@pytest.mark.parametrize("arguments", KINDS, ids=str)
def test_batches_are_those_of_make_train(tiny, arguments):
    arguments = {"batch_size": 50, "seed": 3, **arguments}
    more = {}
    if arguments.get("normalize") == "standard":
        more["statistics"] = input_pipeline.pixel_statistics(builder=tiny)
    ours = input_pipeline.numpy_batches(DATA, **arguments, **more)
    theirs = input_pipeline.make_train(builder=tiny, verify=False, **arguments)
    # Each iteration is the next epoch in both.
    for _ in range(3):
        pairs = list(zip(ours, theirs, strict=True))
        assert len(pairs) == len(ours) == theirs.cardinality()
        for (images, labels), (images_expected, labels_expected) in pairs:
            assert images.dtype == images_expected.dtype.as_numpy_dtype
            assert labels.dtype == labels_expected.dtype.as_numpy_dtype
            np.testing.assert_array_equal(images, images_expected)
            np.testing.assert_array_equal(labels, labels_expected)


def test_a_slice_is_that_of_make_train(tiny):
    arguments = {"batch_size": 30, "dtype": "uint8", "augment": "flip_crop", "seed": 2}
    ours = input_pipeline.numpy_batches(DATA, examples=(900, 1000), **arguments)
    theirs = input_pipeline.make_train(builder=tiny, verify=False, split="train[90%:]", **arguments)
    for (images, labels), (images_expected, labels_expected) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(images, images_expected)
        np.testing.assert_array_equal(labels, labels_expected)


@pytest.mark.parametrize("seed", [0, 1, -1, 12345678901234, -(1 << 63), (1 << 63) - 1])
def test_order_in_numpy_is_that_of_the_tensorflow_ops(seed):
    seeds = sampler.epoch_seeds(seed, 9)
    for iteration in range(3):
        expected = [int(found) for found in seeds]
        assert [order.epoch_seed(seed, epoch, iteration) for epoch in range(9)] == expected
    for count in (1, 2, 5, 1000, 60_000):
        values = np.arange(7, 7 + count, dtype=np.int32)
        found = sampler.permuted(tf.constant(values), tf.constant(expected[0], tf.int64))
        np.testing.assert_array_equal(order.permuted(values, expected[0]), found)


@pytest.mark.parametrize("ahead", [0, 1, 5, 100])
def test_a_thread_ahead_changes_no_batch_and_ends_with_the_iteration(ahead):
    def labels(batches):
        return [found.tolist() for _, found in batches]

    arguments = {"batch_size": 90, "epochs": 2, "augment": "flip"}
    expected = labels(input_pipeline.numpy_batches(DATA, **arguments))
    assert labels(input_pipeline.numpy_batches(DATA, ahead=ahead, **arguments)) == expected
    before = threading.active_count()
    iterator = iter(input_pipeline.numpy_batches(DATA, 90, epochs=None, ahead=ahead))
    next(iterator)
    assert threading.active_count() == before + bool(ahead)
    iterator.close()
    assert threading.active_count() == before


def test_workers_that_drop_the_remainder_take_the_same_number_of_steps():
    # 1,000 examples over 3 workers: one has 334, the others 333.
    steps = [
        len(input_pipeline.numpy_batches(DATA, 167, shard=(worker, 3), drop_remainder=True))
        for worker in range(3)
    ]
    assert steps == [1, 1, 1]


def test_batches_without_end_go_on_and_have_no_length():
    batches = input_pipeline.numpy_batches(DATA, 400, epochs=None)
    found = [len(labels) for _, (_, labels) in zip(range(7), batches, strict=False)]
    assert found == [400, 400, 200, 400, 400, 200, 400]
    with pytest.raises(TypeError, match="without end"):
        len(batches)


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ((DATA[0].astype(np.float32), DATA[1]), {}, "data: expected images uint8"),
        ((DATA[0][:, :14], DATA[1]), {}, "data: expected images uint8"),
        ((DATA[0], DATA[1][:-1]), {}, "data: expected 1,000 whole numbers as labels"),
        ((DATA[0], DATA[1] / 2), {}, "data: expected 1,000 whole numbers as labels"),
        (DATA, {"dtype": "bfloat16"}, "dtype: numpy has no bfloat16"),
        (DATA, {"dtype": "float64"}, "dtype: expected one of"),
        (DATA, {"labels": "uint8"}, "labels: expected int64"),
        (DATA, {"augment": "altflip"}, "altflip needs epochs=None"),
        (DATA, {"augment": "flop"}, "the nearest valid one is flip"),
        (DATA, {"examples": (10, 1001)}, "examples: expected"),
        (DATA, {"examples": (10, 10)}, "examples: expected"),
        (DATA, {"examples": (-10, 900)}, "examples: expected"),
        ((DATA[0][:0], DATA[1][:0]), {}, "data: expected images uint8"),
        (DATA, {"batch_size": 1001}, "batch_size: expected 1 to 1,000"),
        (DATA, {"batch_size": 0}, "batch_size: expected 1 to 1,000"),
        (DATA, {"shard": (0, 2), "batch_size": 501}, "batch_size: expected 1 to 500"),
        # Refused by all workers alike, also by the one that has an example more.
        (DATA, {"shard": (0, 3), "batch_size": 334}, "batch_size: expected 1 to 333"),
        (DATA, {"shard": (2, 2)}, "shard: expected"),
        (DATA, {"epochs": 0}, "epochs: expected"),
        (DATA, {"start": (1, 1)}, "start: expected"),
        (DATA, {"seed": "1"}, "seed: expected"),
        (DATA, {"seed": 1 << 63}, "seed: expected"),
        (DATA, {"seed": True}, "seed: expected"),
        (DATA, {"ahead": -1}, "ahead: expected"),
    ],
)
def test_a_wrong_argument_is_one_sentence(data, arguments, message):
    with pytest.raises(errors.ArgumentError) as caught:
        input_pipeline.numpy_batches(data, **{"batch_size": 50, **arguments})
    assert message in str(caught.value)


def _alone(code, *absent):
    """What code prints in a process of its own, which must not import the absent packages."""
    before = (
        "import sys\n"
        "import numpy as np\n"
        "from fmnist_tfds import input_pipeline\n"
        "images = np.arange(100 * 784, dtype=np.uint8).reshape(100, 28, 28)\n"
        "data = images, np.arange(100) % 10\n"
    )
    after = f"\nassert not sys.modules.keys() & {set(absent)!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", before + code + after], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_batches_need_no_tensorflow_and_no_keras():
    code = (
        "for how in (None, 'flip_crop_cutout_erase'):\n"
        "    made = list(input_pipeline.numpy_batches(data, 30, augment=how))\n"
        "    print(len(made), made[0][0].shape)\n"
    )
    assert _alone(code, "tensorflow", "keras").split("\n")[:2] == ["4 (30, 28, 28, 1)"] * 2


_WITHOUT_COPY = """
for dtype in ("uint8", "float32"):
    for images, labels in input_pipeline.numpy_batches(
        data, 32, dtype=dtype, labels="int32", drop_remainder=True
    ):
        for array in (images, labels):
            taken = from_dlpack(array)
            assert pointer(taken) == array.ctypes.data, dtype
            assert (np.asarray(taken) == array).all()
print("same memory")
"""


@pytest.mark.needs_jax
def test_jax_takes_batches_without_a_copy():
    # JAX shares memory that begins at a multiple of 64 bytes.
    code = (
        "import jax\n"
        "from_dlpack = jax.dlpack.from_dlpack\n"
        "pointer = lambda array: array.unsafe_buffer_pointer()\n"
    )
    assert "same memory" in _alone(code + _WITHOUT_COPY, "tensorflow")


@pytest.mark.needs_torch
def test_torch_takes_batches_without_a_copy():
    code = (
        "import torch\nfrom_dlpack = torch.from_dlpack\npointer = lambda array: array.data_ptr()\n"
    )
    assert "same memory" in _alone(code + _WITHOUT_COPY, "tensorflow")
