"""`make_train`'s batches as numpy arrays, for JAX and PyTorch without TensorFlow.

Never imports TensorFlow, TFDS or Keras.
"""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, errors
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import order

_DTYPES = ("float32", "float16", "uint8")
_SHAPES = ((28, 28), (28, 28, 1))
_Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def numpy_batches(
    data: tuple[npt.NDArray[np.uint8], npt.NDArray[Any]],
    batch_size: int,
    *,
    examples: tuple[int, int] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    normalize: str = "unit",
    statistics: tuple[float, float] = catalog.FASHION_MNIST_STATISTICS,
    labels: str = "int64",
    augment: str | Sequence[str] | None = None,
    crop_pixels: int = 2,
    cutout_pixels: int = 8,
    epochs: int | None = 1,
    start: tuple[int, int] = (0, 0),
    drop_remainder: bool = False,
    shard: order.Shard | None = None,
    ahead: int = 2,
) -> NumpyBatches:
    """The batches that `make_train(source="resident")` gives for the same arguments, bit for bit.

    Arrays of their own, contiguous: `torch.from_dlpack` and `jax.dlpack.from_dlpack` take them
    without a copy.

    Args:
        data: (images uint8[n, 28, 28] or uint8[n, 28, 28, 1], labels integer[n]) of a whole split
            in its order: one of the two that `fmnist_tfds.load_data()` gives.
        batch_size: examples per batch and worker.
        examples: (first, stop), which of them; `split="train[:55000]"` is (0, 55000).
        seed: of the order and the augmentation.
        dtype: "float32", "float16" or "uint8".
        normalize: as in `make_train`.
        statistics: mean and deviation of the training pixels, for normalize="standard".
        labels: as in `make_train`.
        augment: as in `make_train`: all of them are the same here.
        crop_pixels: as in `make_train`.
        cutout_pixels: as in `make_train`.
        epochs: as in `make_train`.
        start: as in `make_train`.
        drop_remainder: as in `make_train`.
        shard: as in `make_train`.
        ahead: how many batches a thread makes while the caller works on one; 0: no thread.

    Returns:
        an iterable of (images dtype[B, 28, 28, 1], labels int64[B]), each iteration over it the
        next `epochs` epochs; `len` is how many batches.

    Raises:
        ArgumentError: an argument is wrong.
    """
    if order.whole("ahead", ahead) < 0:
        raise errors.ArgumentError(f"ahead: expected at least 0 batches, got {ahead}")
    images, classes = checked("data", data)
    if dtype == "bfloat16":
        raise errors.ArgumentError(
            "dtype: numpy has no bfloat16", hint='take "uint8" or "float32" and cast on the device'
        )
    order.check_labels(labels)
    order.check_epochs(epochs)
    order.check_seed(seed)
    how = augmentation.recipe(
        dtype,
        normalize,
        augment,
        lambda: statistics,
        crop_pixels=crop_pixels,
        cutout_pixels=cutout_pixels,
        seed=seed,
    )
    if "altflip" in how.augment and epochs == 1:
        raise errors.ArgumentError("augment: altflip needs epochs=None or more than 1")
    first, stop = (0, len(images)) if examples is None else map(_whole_example, examples)
    if not 0 <= first < stop <= len(images):
        raise errors.ArgumentError(
            f"examples: expected (first, stop) within {len(images):,}, got {examples}"
        )
    index, count = order.check_shard(shard)
    shares = [len(range(first + worker, stop, count)) for worker in range(count)]
    if not 1 <= order.whole("batch_size", batch_size) <= min(shares):
        raise errors.ArgumentError(
            f"batch_size: expected 1 to {min(shares):,} (a worker's share of the "
            f"{stop - first:,} examples), got {batch_size:,}"
        )
    used = min(shares) // batch_size * batch_size if drop_remainder else shares[index]
    cuts = [
        slice(begin, min(begin + batch_size, used)) for begin in range(0, used, int(batch_size))
    ]
    begun = order.check_start(start, epochs, len(cuts))
    return NumpyBatches(
        images,
        as_labels(classes, labels),
        np.arange(first, stop, dtype=np.int32),
        cuts,
        how,
        (seed, epochs, begun, (index, count)),
        int(ahead),
    )


class NumpyBatches:
    """Batches of numpy arrays; each iteration is the next epochs. Made by `numpy_batches`.

    Args:
        images: uint8[N, 28, 28, 1].
        labels: one entry per image, in the form of the batches.
        numbers: int32[N], the examples' numbers in their split.
        cuts: the batches of an epoch, as slices of its order.
        how: what happens to the pixels.
        plan: seed; epochs per iteration, None without end; (epoch, step) of the start; shard.
        ahead: how many batches a thread makes while the caller works on one; 0: no thread.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[Any],
        numbers: npt.NDArray[np.int32],
        cuts: Sequence[slice],
        how: augmentation.Recipe,
        plan: tuple[int, int | None, tuple[int, int], order.Shard],
        ahead: int,
    ) -> None:
        self._images, self._labels, self._numbers = images, labels, numbers
        self._cuts, self._how = cuts, how
        self._seed, self._epochs, self._start, self._shard = plan
        self._iterations, self._ahead = itertools.count(), ahead

    def __len__(self) -> int:
        """Batches of one iteration.

        Raises:
            TypeError: there is no end.
        """
        if self._epochs is None:
            raise TypeError("batches without end have no length")
        return (self._epochs - self._start[0]) * len(self._cuts) - self._start[1]

    def __iter__(self) -> Iterator[_Batch]:
        """The next epochs."""
        # Counted here, not at the first batch: iterators made in turn are epochs in turn.
        batches = self._batches(next(self._iterations))
        return _made_ahead(batches, self._ahead) if self._ahead else batches

    def _batches(self, iteration: int) -> Iterator[_Batch]:
        first, step = self._start
        index, count = self._shard
        epochs = itertools.count(first) if self._epochs is None else range(first, self._epochs)
        for epoch in epochs:
            seed = order.epoch_seed(self._seed, epoch, iteration)
            numbers = order.permuted(self._numbers, seed)[index::count]
            for cut in self._cuts[step if epoch == first else 0 :]:
                yield self._made(numbers[cut], order.key(epoch, seed))

    def _made(self, numbers: npt.NDArray[np.int32], key: int) -> _Batch:
        how, ops = self._how, augmentation.NUMPY
        images = _taken(self._images, numbers)
        if how.augment:
            draws = augmentation.draw(how, numbers, np.full(len(numbers), key), ops)
            moved = augmentation.apply(images, draws, how, ops)
            np.copyto(images, moved)
        return augmentation.finish(images, how, ops, how.dtype), _taken(self._labels, numbers)


def _made_ahead(batches: Iterator[_Batch], count: int) -> Iterator[_Batch]:
    """The same batches, `count` of them made by one thread before they are wanted."""
    with concurrent.futures.ThreadPoolExecutor(1, "fmnist-tfds-batches") as thread:
        waiting = collections.deque(thread.submit(next, batches, None) for _ in range(count))
        try:
            while (made := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(next, batches, None))
                yield made
        finally:
            thread.shutdown(cancel_futures=True)


def _taken(array: npt.NDArray[Any], numbers: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    made = augmentation.aligned((len(numbers), *array.shape[1:]), array.dtype)
    # The numbers lie within it; mode="raise" would go through a buffer.
    return np.take(array, numbers, 0, out=made, mode="clip")


def _whole_example(place: int) -> int:
    return order.whole("examples", place)


def checked(
    what: str, data: tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Images uint8[n, 28, 28, 1] and labels integer[n], as they were given.

    Args:
        what: how messages call them.
        data: images uint8[n, 28, 28] or uint8[n, 28, 28, 1], and labels.

    Raises:
        ArgumentError: they are something else, or none.
    """
    images, classes = (np.asarray(part) for part in data)
    if images.dtype != np.uint8 or not images.size or images.shape[1:] not in _SHAPES:
        raise errors.ArgumentError(
            f"{what}: expected images uint8[n, 28, 28], got {images.dtype}{list(images.shape)}"
        )
    if classes.shape != images.shape[:1] or classes.dtype.kind not in "iu":
        raise errors.ArgumentError(
            f"{what}: expected {len(images):,} whole numbers as labels, got "
            f"{classes.dtype}{list(classes.shape)}"
        )
    return images.reshape(-1, 28, 28, 1), classes


def as_labels(classes: npt.NDArray[Any], labels: str) -> npt.NDArray[Any]:
    """Whole numbers as `labels` wants them: int64[n], int32[n] or float32[n, classes]."""
    if labels == "one-hot":
        return np.eye(catalog.NUM_CLASSES, dtype=np.float32)[classes]
    return classes.astype(labels)
