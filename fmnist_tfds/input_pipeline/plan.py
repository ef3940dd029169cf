"""From a checked plan to batches: which examples, in which order, made how. Used by pipeline.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import in_memory, prepared, preprocess, sampler, sources
from fmnist_tfds.input_pipeline import service as data_service

# A call costs 100 µs beside its pixels: small batches are slices of groups of about this size.
_GROUP_EXAMPLES = 2048
_KNOWN_STATISTICS = ("fmnist_resilient", "fashion_mnist")
Shard = tuple[int, int]


class Plan:
    """What make_train and make_eval have in common: checked arguments and the source."""

    def __init__(
        self,
        batch_size: int,
        data_dir: Any,
        builder: Any,
        name: str,
        split: Any,
        shard: Shard | None,
        source: str,
        verify: bool,
        drop_remainder: bool,
    ) -> None:
        if source not in ("resident", "stream"):
            raise errors.ArgumentError(f"source: expected resident or stream, got {source!r}")
        self.index, self.count = _checked_shard(shard)
        self.batch, self.drop = whole("batch_size", batch_size), drop_remainder
        self._builder = prepared.find_builder(name, data_dir, builder)
        self._split, self._span = prepared.find_span(self._builder, split)
        self._source, self._verify = source, verify
        # What is dealt out to the workers in turn: examples, or blocks of them.
        self._dealt = np.ones(self._span[1] - self._span[0], np.int32)
        if source == "stream":
            self._dealt = sampler.block_counts(self._split.shards, self._span)
        if self.count > len(self._dealt):
            raise errors.ArgumentError(
                f"shard: expected at most {len(self._dealt):,} workers (source={source!r} deals "
                f"out so many parts of {split}), got {self.count:,}"
            )
        self._least = min(self._examples_of(worker) for worker in range(self.count))
        if not 1 <= batch_size <= self._least:
            raise errors.ArgumentError(
                f"batch_size: expected 1 to {self._least:,} (a worker's share of the "
                f"{self._span[1] - self._span[0]:,} examples of {split}), got {batch_size:,}"
            )

    @functools.cached_property
    def loading(self) -> in_memory.Loading:
        """The split on its way into memory."""
        return in_memory.Loading(self._split, self._builder, verify=self._verify)

    @functools.cached_property
    def _parsed(self) -> sources.Parsed:
        return sources.Parsed(self._split, self._span, verify=self._verify)

    @functools.cached_property
    def _table(self) -> sources.Table | None:
        """Where examples are looked up; None where records must be parsed one by one."""
        if self._source == "resident":
            return sources.InMemory(self.loading, self.index, self.count, self._span)
        return sources.mapped(self._parsed, self.index, self.count)

    def settle(self) -> None:
        """Waits for what runs beside the tracing: the copy into memory, and the proof.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        (self.loading if self._source == "resident" else self._parsed.scan).settle()

    @functools.cached_property
    def steps(self) -> int:
        """Batches per epoch of this worker."""
        if self.drop:
            return self._least // self.batch
        return -(-self._examples_of(self.index) // self.batch)

    def cardinality(self, epochs: int | None) -> int:
        """Batches of so many epochs of this worker, as tf.data counts them."""
        return int(tf.data.INFINITE_CARDINALITY) if epochs is None else epochs * self.steps

    def owner(self, function: str, how: preprocess.Recipe | None, **more: Any) -> dict[str, Any]:
        """Everything that decides what the batches hold, for the iterator's checkpoint."""
        return {
            "function": function,
            "data": self._builder.info.full_name,
            "split": self._split.split,
            **({"span": self._span} if self._span != (0, self._split.examples) else {}),
            "shard_lengths": [shard.examples for shard in self._split.shards],
            "batch_size": int(self.batch),
            "shard": (int(self.index), int(self.count)),
            "drop_remainder": bool(self.drop),
            "source": self._source,
            "by_record": self._source == "stream" and self._table is None,
            "dtype": how and how.dtype,
            "mean": how and how.mean,
            "deviation": how and how.deviation,
            "augment": how and ("_".join(sorted(how.augment)) or None),
            "seed": None,
            "epochs": 1,
            **more,
            "order": sampler.VERSION,
        }

    def _examples_of(self, index: int) -> int:
        return int(self._dealt[index :: self.count].sum())

    @property
    def _used(self) -> int:
        """Examples per epoch of this worker."""
        return self.steps * self.batch if self.drop else self._examples_of(self.index)

    @property
    def examples(self) -> int:
        """How many the whole split has."""
        return self._split.examples

    def images_of_all_splits(self) -> tuple[list[Any], int]:
        """uint8[n, 28, 28, 1] of each prepared split, and where this one's begin in all of them."""
        names = [name for name in ("train", "test") if name in self._builder.info.splits]
        found = {}
        for name in names:
            split = prepared.find_split(self._builder, name)
            found[name] = in_memory.load(split, self._builder, verify=self._verify).images
        before = names[: names.index(self._split.split)]
        return list(found.values()), sum(len(found[name]) for name in before)

    def statistics(self) -> tuple[float, float]:
        """Mean and deviation of the training pixels."""
        if self._split.dataset in _KNOWN_STATISTICS:
            return preprocess.FASHION_MNIST_STATISTICS
        train = prepared.find_split(self._builder, "train")
        images = in_memory.load(train, self._builder, verify=False).images
        counts = np.bincount(images.reshape(-1), minlength=256) / images.size
        mean = float(counts @ np.arange(256))
        return mean, float(np.sqrt(counts @ (np.arange(256) - mean) ** 2))

    def shuffled(self, how: preprocess.Recipe, seed: int, epochs: int | None) -> tf.data.Dataset:
        """Batches of the epochs, each in its own order."""
        # First of all: loading goes on in the background from here.
        table = self._table
        seeds = sampler.epoch_seeds(seed, epochs)
        if table is None:
            return self._finished(how, seeds.flat_map(sources.plain(self._parsed_epoch)))
        return self._looked_up(how, table, self._groups(table, seeds, draws=bool(how.augment)))

    def ordered(self, how: preprocess.Recipe) -> tf.data.Dataset:
        """Batches in the order of the split."""
        if self._table is None:
            blocks = self._parsed.in_order(self.index, self.count)
            return self._finished(how, blocks.rebatch(self.batch))
        numbers = tf.constant(self._table.in_order())
        return self._looked_up(how, self._table, sampler.grouped(numbers, self._group))

    def index_batches(self, seed: int, epochs: int | None) -> tf.data.Dataset:
        """The indices alone, in the order of `shuffled` of a resident split: int32[B]."""
        table = sources.InMemory(self.loading, self.index, self.count, self._span)
        seeds = sampler.epoch_seeds(seed, epochs)
        return self._cut(self._groups(table, seeds, draws=False))

    def offloaded(
        self, address: str, how: preprocess.Recipe, seed: int, epochs: int | None
    ) -> tf.data.Dataset:
        """Batches made by the workers of a tf.data service."""
        # Own blocks and an own job for each trainer: a job shared by name would give the next run
        # of that name, on the same service, no example at all.
        windows = self._parsed.shared_out(self.index, self.count, seed)
        batches = windows.rebatch(self.batch, drop_remainder=self.drop)
        self._parsed.scan.settle()
        ready = batches.map(
            sources.plain(functools.partial(_drawn_anyhow, how)),
            num_parallel_calls=sources.PARALLEL,
        )
        return data_service.distribute(ready, address).repeat(epochs).prefetch(2)

    @property
    def _group(self) -> int:
        """Examples that are looked up at once: a batch, or several small ones."""
        return self.batch * (
            _GROUP_EXAMPLES // self.batch if self.batch < _GROUP_EXAMPLES // 2 else 1
        )

    def _groups(
        self, table: sources.Table, seeds: tf.data.Dataset, *, draws: bool
    ) -> tf.data.Dataset:
        """int32[G], epoch by epoch; with `draws` (step, (int32[G], the epoch's seed int64[G]))."""

        def epoch(seed: tf.Tensor) -> Any:
            indices = table.shuffled(seed)[: self._used]
            return (indices, tf.fill([self._used], seed)) if draws else indices

        # Slices of one tensor: a flat_map would start an iterator of its own for each epoch.
        groups = sampler.rebatched(
            seeds.map(sources.plain(epoch)), sampler.cuts(self._used, self._group)
        )
        return groups.enumerate() if draws else groups

    def _looked_up(
        self, how: preprocess.Recipe, table: sources.Table, groups: tf.data.Dataset
    ) -> tf.data.Dataset:
        per_epoch = -(-self._used // self._group)

        def make(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = table.look_up(index)
            return preprocess.host_batch(images, None, how), labels

        def draw(step: tf.Tensor, found: Any) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = table.look_up(found[0])
            # No two workers draw alike.
            number = step % per_epoch * self.count + self.index
            seed = tf.stack([found[1][0], number])
            return preprocess.host_batch(images, seed, how), labels

        function = sources.plain(draw if how.augment else make)
        return self._cut(groups.map(function, num_parallel_calls=sources.PARALLEL))

    def _cut(self, groups: tf.data.Dataset) -> tf.data.Dataset:
        """The batches in groups, epoch by epoch."""
        if self._group == self.batch:
            return groups
        return sampler.rebatched(groups, sampler.cuts(self._used, self.batch))

    def _parsed_epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """One epoch of parsed records: (images, labels, seed int64[2]) by batches."""
        windows = self._parsed.shuffled(self.index, self.count, seed)
        batches = windows.rebatch(self.batch, drop_remainder=self.drop).take(self.steps)

        def numbered(step: tf.Tensor, pair: Any) -> Any:
            return *pair, tf.stack([seed, step * self.count + self.index])

        return batches.enumerate().map(sources.plain(numbered))

    def _finished(self, how: preprocess.Recipe, batches: tf.data.Dataset) -> tf.data.Dataset:
        def make(images: tf.Tensor, labels: tf.Tensor, seed: Any = None) -> Any:
            return preprocess.host_batch(images, seed, how), labels

        return batches.map(sources.plain(make), num_parallel_calls=sources.PARALLEL)


def _drawn_anyhow(
    how: preprocess.Recipe, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    # The op without seeds, as in sources.py.
    low, high = tf.constant(0, tf.int64), tf.constant(tf.int32.max, tf.int64)
    seed = tf.raw_ops.RandomUniformInt(shape=[2], minval=low, maxval=high, seed=0, seed2=0)
    return preprocess.host_batch(images, seed, how), labels


def whole(name: str, value: Any) -> int:
    """`value`, a whole number.

    Raises:
        ArgumentError: it is None, a float, a string, true or false.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise errors.ArgumentError(f"{name}: expected a whole number, got {value!r}")
    return int(value)


def check_epochs(epochs: int | None) -> None:
    """Refuses fewer than one epoch.

    Raises:
        ArgumentError: it is neither None nor at least 1.
    """
    if epochs is not None and whole("epochs", epochs) < 1:
        raise errors.ArgumentError(f"epochs: expected at least 1 or None, got {epochs}")


def _checked_shard(shard: Shard | None) -> Shard:
    index, count = (whole("shard", part) for part in shard or (0, 1))
    if count < 1 or not 0 <= index < count:
        raise errors.ArgumentError(
            f"shard: expected (index, count) with 0 <= index < count, got {shard}"
        )
    return index, count
