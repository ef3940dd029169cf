"""Checked arguments, and what one worker takes of an epoch: how many examples, in which batches."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import augment, order, sampler
from fmnist_tfds.input_pipeline.shards import prepared

# A call costs 100 µs beside its pixels: small batches are slices of groups of about this size.
_GROUP_EXAMPLES = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """What one worker takes of a split in each epoch.

    Attributes:
        builder: of the prepared data set.
        chosen: the examples that all workers share.
        index: which worker.
        count: of how many.
        batch: examples per batch.
        examples: how many this worker takes per epoch.
        steps: in how many batches.
        drop_remainder: whether the last, smaller batch is left out.
    """

    builder: Any
    chosen: prepared.Selection
    index: int
    count: int
    batch: int
    examples: int
    steps: int
    drop_remainder: bool

    @property
    def group(self) -> int:
        """Examples that are looked up at once: a batch, or several small ones."""
        return self.batch * (
            _GROUP_EXAMPLES // self.batch if self.batch < _GROUP_EXAMPLES // 2 else 1
        )

    @property
    def is_grouped(self) -> bool:
        """Whether a group is several batches."""
        return self.group > self.batch

    def cuts(self, size: int, step: int = 0) -> list[int]:
        """Sizes of the slices of epochs into `size` examples, from a step of the first one on."""
        return sampler.cuts(self.examples, size, step * self.batch)

    def cardinality(self, epochs: int | None) -> int:
        """Batches of so many epochs, as tf.data counts them."""
        return -1 if epochs is None else epochs * self.steps

    def owner(
        self,
        function: str,
        source: str,
        how: augment.Recipe | None = None,
        labels: str = "int64",
        **more: Any,
    ) -> dict[str, Any]:
        """Everything that decides what the batches hold, for the iterator's checkpoint."""
        spans = self.chosen.spans
        words = how.augment if how else frozenset()
        sizes = {"crop": "crop_pixels", "cutout": "cutout_pixels"}
        return {
            "function": function,
            "data": self.builder.info.full_name,
            "split": self.chosen.name,
            **({} if self.chosen.is_whole else {"span": spans if len(spans) > 1 else spans[0]}),
            "shard_lengths": [shard.examples for shard in self.chosen.shards],
            "batch_size": self.batch,
            "shard": (self.index, self.count),
            "drop_remainder": self.drop_remainder,
            "source": source,
            "dtype": how and how.dtype,
            "mean": how and how.mean,
            "deviation": how and how.deviation,
            "labels": labels,
            "augment": "_".join(sorted(words)) or None,
            **{size: getattr(how, size) for word, size in sizes.items() if word in words},
            "seed": None,
            "epochs": 1,
            **more,
            "order": sampler.VERSION,
        }


def checked(
    batch_size: int,
    builder: Any,
    split: Any,
    shard: order.Shard | None,
    source: str,
    *,
    drop_remainder: bool,
) -> Share:
    """The share of one worker.

    Args:
        batch_size: examples per batch.
        builder: of a prepared data set.
        split: what `prepared.select` takes.
        shard: (index, count) of the worker.
        source: "resident" deals out examples in turn, "stream" blocks of them.
        drop_remainder: leave out the last, smaller batch; all workers then take as many steps.

    Raises:
        ArgumentError: an argument is wrong.
        RecordError: a shard that the data set's description names is not there.
    """
    if source not in ("resident", "stream"):
        raise errors.ArgumentError(f"source: expected resident or stream, got {source!r}")
    index, count = order.check_shard(shard)
    batch = order.whole("batch_size", batch_size)
    chosen = prepared.select(builder, split)
    dealt = np.ones(chosen.examples, np.int32)
    if source == "stream":
        dealt = sampler.block_counts(chosen)
    if count > len(dealt):
        raise errors.ArgumentError(
            f"shard: expected at most {len(dealt):,} workers (source={source!r} deals "
            f"out so many parts of {split}), got {count:,}"
        )
    shares = [int(dealt[worker::count].sum()) for worker in range(count)]
    if not 1 <= batch <= min(shares):
        raise errors.ArgumentError(
            f"batch_size: expected 1 to {min(shares):,} (a worker's share of the "
            f"{chosen.examples:,} examples of {split}), got {batch:,}"
        )
    steps = min(shares) // batch if drop_remainder else -(-shares[index] // batch)
    examples = steps * batch if drop_remainder else shares[index]
    return Share(builder, chosen, index, count, batch, examples, steps, drop_remainder)


def calls(parallel: int | None) -> int:
    """How many groups are made at once: `parallel`, or 2 to 8 by the cores of this process.

    Raises:
        ArgumentError: it is less than 1.
    """
    if parallel is None:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        # Two keep a slow consumer fed; each more holds another group in memory.
        return min(max(cores, 2), 8)
    if order.whole("parallel", parallel) < 1:
        raise errors.ArgumentError(f"parallel: expected at least 1 or None, got {parallel}")
    return int(parallel)
