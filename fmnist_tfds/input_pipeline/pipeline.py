"""make_train and make_eval: prepared shards to batches, as straight lines of tf.data.

Seeds → order → look-up → pixels → batches. Batch before map: tf.data costs 5 to 20 µs an element,
whatever its size.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from fmnist_tfds import catalog, errors
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import checkpoints, order, preprocess, sampler, share
from fmnist_tfds.input_pipeline import service as data_service
from fmnist_tfds.input_pipeline.shards import in_memory, prepared, sources

_log = logging.getLogger(__name__)
_DATASET = "fmnist_resilient"
# TFDS's own data sets, in another order: their pixels are those of the catalog all the same.
_STOCK = {each.stock_name: each for each in catalog.DATASETS.values() if each.stock_name}


def make_train(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
    split: Any = "train",
    seed: int = 0,
    dtype: str = "float32",
    normalize: str = "unit",
    labels: str = "int64",
    augment: str | Sequence[str] | None = None,
    crop_pixels: int = 2,
    cutout_pixels: int = 8,
    epochs: int | None = 1,
    start: tuple[int, int] = (0, 0),
    drop_remainder: bool = False,
    shard: order.Shard | None = None,
    source: Literal["resident", "stream"] = "resident",
    service: str | None = None,
    verify: bool = True,
    parallel: int | None = None,
    device: str | None = None,
) -> tf.data.Dataset:
    """Shuffled batches: (images dtype[B, 28, 28, 1], labels int64[B]).

    Each iteration of the data set is the next epoch (or the next `epochs` epochs), in an order of
    its own, the same on every run and machine for the same seed. Its iterator can be saved and
    restored with tf.train.Checkpoint in the middle of an epoch; a data set made with arguments
    that change the batches refuses it (ConfigError; InvalidArgumentError of TensorFlow where you
    made the iterator's data set from this one, as by `map`).

    Args:
        batch_size: examples per batch and worker.
        data_dir: TFDS's data_dir; None: TFDS's default.
        builder: a prepared TFDS builder to read instead of `name` in `data_dir`.
        name: the data set's name.
        split: "train", "test", "train+test", a slice ("train[:90%]", "train[55000:]"), or one of
            those that `tfds.even_splits` gives; a slice is proved with the split it is cut from.
        seed: of the order and the augmentation.
        dtype: "float32", "bfloat16", "float16" or "uint8" (pixels 0 to 255).
        normalize: "unit" (0 to 1) or "standard" (the training split's mean 0, deviation 1).
        labels: "int64", "int32" or "one-hot" (float32[B, classes]).
        augment: None, or of "flip", "altflip", "crop", "cutout", "erase" one, several joined by
            "_", or a tuple. What is drawn depends on the example, the epoch and the seed, not on
            the batch size or the number of workers. "altflip" flips each image in every other
            epoch of an iteration, so it needs epochs=None or more than 1.
        crop_pixels: how far "crop" moves an image at most, in each direction.
        cutout_pixels: the side of the square that "cutout" blackens.
        epochs: epochs per iteration; None: without end.
        start: (epoch, step) at which each iteration begins: what `skip(epoch * steps + step)` would
            leave. No batch is made only to be thrown away; `source="stream"` over records that
            must be read one by one (other encodings) reads the beginning of that one epoch again.
        drop_remainder: leave out the last, smaller batch of each epoch. Over several workers all
            then take the same number of steps; otherwise these may differ by one ("resident") or
            by a block of 120 examples ("stream").
        shard: (index, count) of this data-parallel worker.
        source: "resident", a uniform permutation of the whole split, of which worker i of n takes
            positions i, i + n, …; or "stream", bounded memory: windows of at least 8,192 examples
            made of blocks from all over the split, each window permuted whole.
        service: "grpc://host:port" of a tf.data service whose workers see the same files: each
            example once while no worker fails; no promise of order, cardinality or checkpoint.
        verify: prove pixels and labels by the catalog's digests, once per process (by the records'
            checksums where the catalog does not hold the data set). False: only the framing and
            the PNG headers of stored records are checked.
        parallel: how many groups of batches are made at once; None: by the cores of this process.
        device: prefetch batches to that device, such as "/gpu:0"; the cardinality is then unknown
            and the iterator cannot be saved.

    Raises:
        ArgumentError: an argument is wrong.
        NotPreparedError: `data_dir` holds no prepared data.
        RecordError: a shard is damaged.
        ContentError: the data is not the genuine one.
    """
    order.check_epochs(epochs)
    order.check_seed(seed)
    _leave_gpus(device)
    builder = prepared.find_builder(name, data_dir, builder)
    dealt = "stream" if service and source == "resident" else source
    mine = share.checked(batch_size, builder, split, shard, dealt, drop_remainder=drop_remainder)
    begin, step = order.check_start(start, epochs, mine.steps)
    how = augmentation.recipe(
        dtype,
        normalize,
        augment,
        lambda: _statistics(builder),
        crop_pixels=crop_pixels,
        cutout_pixels=cutout_pixels,
        seed=seed,
    )
    if "altflip" in how.augment and (epochs == 1 or service):
        raise errors.ArgumentError(
            "augment: altflip needs the numbers of the epochs: epochs=None or more than 1, and no "
            "service",
            hint="pass epochs=N or None, and steps_per_epoch to fit",
        )
    pixels, calls = _pixels(how, labels, builder), share.calls(parallel)
    if service is not None:
        if (begin, step) != (0, 0):
            raise errors.ArgumentError("start: a service promises no order to start within")
        records = sources.Parsed(mine, verify=verify)
        return _offloaded(records, mine, service, seed, epochs, pixels, calls, drop_remainder)
    data = sources.opened(mine, dealt, verify=verify)  # loading goes on in the background from here

    # Every iteration goes on with new seeds, one for each epoch, reproducibly.
    seeds = sampler.epochs(seed, epochs, begin, numbered=bool(how.augment or step))
    if isinstance(data, sources.Parsed):

        def read(epoch_seed: tf.Tensor, *epoch: tf.Tensor) -> tf.data.Dataset:
            examples = data.epoch(epoch_seed, *epoch, drawn=bool(how.augment))
            batches = examples.rebatch(mine.batch, drop_remainder=drop_remainder)
            batches = batches.take(mine.steps)
            return batches.skip(tf.cast(epoch[0] == begin, tf.int64) * step) if step else batches

        # Records of changing length: read block by block, an iterator for each epoch.
        examples = seeds.flat_map(sources.plain(read))
        batches = examples.map(sources.plain(pixels), num_parallel_calls=calls)
    else:

        def ordered(epoch_seed: tf.Tensor, *epoch: tf.Tensor) -> Any:
            numbers = data.shuffled(epoch_seed)
            if drop_remainder:  # only then: a slice costs the start of each iterator 1 ms
                numbers = numbers[: mine.examples]
            if step:
                numbers = numbers[tf.cast(epoch[0] == begin, tf.int64) * step * mine.batch :]
            return (
                (numbers, sampler.keys(numbers, epoch[0], epoch_seed)) if how.augment else numbers
            )

        def look_up(numbers: tf.Tensor, *keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return pixels(*data.look_up(numbers), numbers, *keys)

        # An epoch's order is one tensor of numbers, made at once.
        orders = seeds.map(sources.plain(ordered))
        # Slices of that tensor: a flat_map would start an iterator of its own for each epoch.
        groups = sampler.rebatched(orders, mine.cuts(mine.group, step))
        # Each call makes a whole group, since a call costs 100 µs beside its pixels.
        made = groups.map(sources.plain(look_up), num_parallel_calls=calls)
        # The batches of a group are slices of it, mostly without a copy.
        batches = sampler.rebatched(made, mine.cuts(mine.batch, step)) if mine.is_grouped else made
    data.settle()
    more = {"by_record": isinstance(data, sources.Parsed), "start": (begin, step)}
    owner = mine.owner("make_train", dealt, how, labels, seed=seed, epochs=epochs, **more)
    left = mine.cardinality(epochs) - (0 if epochs is None else begin * mine.steps + step)
    return checkpoints.finished(batches, left, owner, device)


def make_eval(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
    split: Any = "test",
    dtype: str = "float32",
    normalize: str = "unit",
    labels: str = "int64",
    shard: order.Shard | None = None,
    source: Literal["resident", "stream"] = "resident",
    verify: bool = True,
    parallel: int | None = None,
    device: str | None = None,
) -> tf.data.Dataset:
    """Batches in order, every example once: (images dtype[B, 28, 28, 1], labels int64[B]).

    Over several workers each example goes to exactly one of them; the last batch may be smaller.
    Errors are those of `make_train`.

    Args:
        batch_size: examples per batch and worker.
        data_dir: TFDS's data_dir; None: TFDS's default.
        builder: a prepared TFDS builder to read instead of `name` in `data_dir`.
        name: the data set's name.
        split: "test", "train", "train+test", or a slice, as `make_train` has it.
        dtype: "float32", "bfloat16", "float16" or "uint8" (pixels 0 to 255).
        normalize: "unit" (0 to 1) or "standard" (the training split's mean 0, deviation 1).
        labels: "int64", "int32" or "one-hot" (float32[B, classes]).
        shard: (index, count) of this data-parallel worker.
        source: "resident", the split in memory; or "stream", bounded memory.
        verify: prove pixels and labels by the catalog's digests, once per process.
        parallel: how many groups of batches are made at once; None: by the cores of this process.
        device: prefetch batches to that device, such as "/gpu:0".
    """
    _leave_gpus(device)
    builder = prepared.find_builder(name, data_dir, builder)
    mine = share.checked(batch_size, builder, split, shard, source, drop_remainder=False)
    how = augmentation.recipe(dtype, normalize, None, lambda: _statistics(builder))
    pixels, calls = _pixels(how, labels, builder), share.calls(parallel)
    data = sources.opened(mine, source, verify=verify)
    if isinstance(data, sources.Parsed):
        examples = data.in_order().rebatch(mine.batch)
        batches = examples.map(sources.plain(pixels), num_parallel_calls=calls)
    else:

        def look_up(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return pixels(*data.look_up(numbers))

        groups = sampler.grouped(tf.constant(data.in_order()), mine.group)
        made = groups.map(sources.plain(look_up), num_parallel_calls=calls)
        batches = sampler.rebatched(made, mine.cuts(mine.batch)) if mine.is_grouped else made
    data.settle()
    more = {"by_record": isinstance(data, sources.Parsed)}
    owner = mine.owner("make_eval", source, how, labels, **more)
    return checkpoints.finished(batches, mine.steps, owner, device)


def pixel_statistics(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
) -> tuple[float, float]:
    """Mean and deviation of all training pixels (0 to 255), as "standard" takes them.

    For a model that normalises by itself: `Preprocess(statistics=…)`, or Keras's own `Rescaling`.
    Arguments and errors are those of `make_train`.
    """
    return _statistics(prepared.find_builder(name, data_dir, builder))


def _leave_gpus(device: str | None) -> None:
    """Hides GPUs from TensorFlow where Keras runs on another backend and needs their memory."""
    if device is None and keras.backend.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError as error:  # it has taken them already
            _log.info("GPUs stay visible to TensorFlow: %s", error)


def _statistics(builder: Any) -> tuple[float, float]:
    train = prepared.find_split(builder, "train")
    known = _STOCK.get(train.dataset) or train.source
    if known is not None and known.pixel_statistics is not None:
        return known.pixel_statistics
    images = in_memory.load(train, builder, verify=False).images
    counts = np.bincount(images.reshape(-1), minlength=256) / images.size
    mean = float(counts @ np.arange(256))
    return mean, float(np.sqrt(counts @ (np.arange(256) - mean) ** 2))


def _pixels(how: augmentation.Recipe, labels: str, builder: Any) -> Callable[..., Any]:
    """The function of (images, labels, and where drawn, numbers and keys) to a batch."""
    order.check_labels(labels)

    def make(images: tf.Tensor, classes: tf.Tensor, *drawn: tf.Tensor) -> Any:
        draws = preprocess.host_draws(how, *drawn) if how.augment else {}
        if labels == "one-hot":
            classes = tf.one_hot(classes, builder.info.features["label"].num_classes)
        elif labels == "int32":
            classes = tf.cast(classes, tf.int32)
        return preprocess.host(images, draws, how), classes

    return make


def _offloaded(
    records: sources.Parsed,
    mine: share.Share,
    address: str,
    seed: int,
    epochs: int | None,
    pixels: Callable[..., Any],
    calls: int,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Batches made by the workers of a tf.data service."""

    def anyhow(images: tf.Tensor, classes: tf.Tensor) -> Any:
        return pixels(images, classes, *sampler.keys_anyhow(classes))

    # Own blocks and an own job for each trainer: a job shared by name would give the next run
    # of that name, on the same service, no example at all.
    windows = records.shared_out(seed)
    batches = windows.rebatch(mine.batch, drop_remainder=drop_remainder)
    records.settle()
    ready = batches.map(sources.plain(anyhow), num_parallel_calls=calls)
    return data_service.distribute(ready, address).repeat(epochs).prefetch(2)
