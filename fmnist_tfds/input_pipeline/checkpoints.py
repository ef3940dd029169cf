"""An iterator's checkpoint carries the arguments of its data set; a data set of others refuses it.

tf.data restores whatever state fits the graph: another worker's share would be continued without a
word, and a state of other batch sizes takes all memory. Two ways lead to a saved iterator:
- `iter(batches)` gives an `_Iterator`, which saves its owner beside tf.data's state: no cost.
- An iterator of what was made from the batches (`.map`, `.prefetch`, tf.distribute) is TensorFlow's
  own. There a selector within the graph keeps the owner: 2 ms at the start of each iterator.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

# The iterator's hooks for tf.train.Checkpoint have no public name.
from tensorflow.python.data.ops import dataset_ops, iterator_ops

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline.shards import sources

_REFUSAL = "this iterator checkpoint belongs to another data set:", "and not to this one:"
_OWNER = "_OWNER"
_REPEATED = 1024


def finished(
    batches: tf.data.Dataset, steps: int, owner: Mapping[str, object], device: str | None
) -> tf.data.Dataset:
    """The data set that users get: counted, bound to its owner, perhaps prefetched to a device.

    Raises:
        ArgumentError: TensorFlow sees no such device.
    """
    options = tf.data.Options()
    options.deterministic = True
    # Autotuning has nothing to tune here, and now and then holds up the end of an iterator for
    # 35 ms, as long as an epoch (BENCHMARKS.md). No rewrite applies either.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # The order and the shards are made here: tf.distribute must not shard once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    ready = Batches(batches, owner, steps, options)
    if device is None:
        return ready
    # On the host the parallel map is ahead of the consumer already.
    return ready.plain.apply(tf.data.experimental.prefetch_to_device(_checked_device(device)))


def _checked_device(device: str) -> str:
    known = [found.name for found in tf.config.list_logical_devices()]
    try:
        wanted = tf.DeviceSpec.from_string(device)
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.ArgumentError(
            f'device: expected a name such as "/gpu:0", got {device!r}'
        ) from error
    for name in known:
        there = tf.DeviceSpec.from_string(name)
        if there.device_type == wanted.device_type and there.device_index == (
            wanted.device_index or 0
        ):
            return device
    shown = ", ".join(name.rpartition("device:")[2].lower() for name in known)
    raise errors.ArgumentError(f"device: TensorFlow sees no {device!r} here; it sees {shown}")


class Batches(dataset_ops.UnaryUnchangedStructureDataset):
    """The same batches, whose iterator can be restored only where `owner` is the same."""

    def __init__(
        self, batches: tf.data.Dataset, owner: Mapping[str, object], steps: int, options: Any
    ) -> None:
        """Wraps batches.

        Args:
            batches: whatever tf.data can save.
            owner: everything that decides what the batches hold.
            steps: how many there are.
            options: tf.data.Options of all iterators.
        """
        self._owner = {name: str(value) for name, value in owner.items()}
        self._bare, self._steps, self._how = batches, steps, options
        super().__init__(self._finished(batches), None)

    @property
    def plain(self) -> tf.data.Dataset:
        """The batches without a check, for an iterator that cannot be saved."""
        return self._input_dataset

    def cardinality(self) -> tf.Tensor:
        """How many batches there are."""
        return self.plain.cardinality()

    @functools.cached_property
    def _variant_tensor(self) -> tf.Tensor:
        # What TensorFlow makes other data sets from. Tracing takes 20 ms: only where it is wanted.
        with tf.init_scope():
            owner = ", ".join(f"{name}={value}" for name, value in self._owner.items())
            return self._finished(_bound(self._bare, owner))._variant_tensor

    def _finished(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        counted = batches.apply(tf.data.experimental.assert_cardinality(self._steps))
        return counted.with_options(self._how)

    def __iter__(self) -> Any:
        """The next epochs.

        Restoring the checkpoint of another data set into it is a ConfigError.
        """
        if not tf.executing_eagerly():
            return super().__iter__()
        return _Iterator(self.plain, self._owner)


class _Iterator(iterator_ops.OwnedIterator):
    """An iterator that saves whose it is."""

    def __init__(self, dataset: tf.data.Dataset, owner: Mapping[str, str]) -> None:
        super().__init__(dataset)
        self._owner = owner

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        owner = [part for item in self._owner.items() for part in item]
        return {**super()._serialize_to_tensors(), _OWNER: tf.constant(owner)}

    def _restore_from_tensors(self, restored_tensors: dict[str, tf.Tensor]) -> Any:
        saved = restored_tensors[_OWNER]
        # Several devices: tf.train.Checkpoint restores within a tf.function.
        if tf.is_symbolic_tensor(saved):
            with tf.control_dependencies([tf.py_function(self._check, [saved], [])]):
                state = {name: tf.identity(part) for name, part in restored_tensors.items()}
            return super()._restore_from_tensors(state)
        self._check(saved)
        return super()._restore_from_tensors(restored_tensors)

    def _copy_trackable_to_cpu(self, object_map: Any) -> None:
        # Asynchronous checkpoints save a copy.
        if self not in object_map:
            object_map[self] = _Iterator(self._dataset, self._owner)
        super()._copy_trackable_to_cpu(object_map)

    def _check(self, saved: tf.Tensor) -> None:
        words = [word.decode() for word in saved.numpy()]
        theirs = dict(zip(words[::2], words[1::2], strict=True))
        names = [
            name for name in {**self._owner, **theirs} if theirs.get(name) != self._owner.get(name)
        ]
        if names:
            told = [
                ", ".join(f"{name}={owner.get(name)}" for name in names)
                for owner in (theirs, self._owner)
            ]
            raise errors.ConfigError(
                f"this iterator checkpoint belongs to a data set with {told[0]}; "
                f"the one here has {told[1]}",
                hint="make the data set with the arguments that it was saved with, or begin anew",
            )


def _bound(batches: tf.data.Dataset, owner: str) -> tf.data.Dataset:
    """The same batches, checked by TensorFlow: a wrong restore is InvalidArgumentError.

    It comes from `restore`, or, where nothing had been taken before, from the first batch. A state
    that was saved after the end has nothing left to give, and any takes it.
    """
    mine = tf.constant(owner)
    words = [tf.constant(text) for text in _REFUSAL]
    zeros = tf.data.Dataset.from_tensor_slices(tf.zeros([_REPEATED], tf.int64)).repeat()

    def check(saved: tf.Tensor) -> tf.data.Dataset:
        # tf.data calls this again where it restores, with the string that was saved.
        told = [words[0], saved, words[1], mine]
        same = tf.raw_ops.Assert(condition=tf.equal(saved, mine), data=told)
        with tf.control_dependencies([same]):
            variant = tf.identity(tf.data.experimental.to_variant(zeros))
        return tf.data.experimental.from_variant(variant, zeros.element_spec)

    # The scan's state keeps the owner where the flat_map does not: before its first element.
    # Choosing by a selector leaves the batches' own state to be saved there, too.
    start = tf.data.Dataset.from_tensors(0)
    kept = start.scan(mine, sources.plain(lambda state, _: (state, state)))
    selector = kept.flat_map(sources.plain(check))
    spec = batches.element_spec
    flat = tf.nest.flatten(spec)
    variant = tf.raw_ops.DirectedInterleaveDataset(
        selector_input_dataset=tf.data.experimental.to_variant(selector),
        data_input_datasets=[tf.data.experimental.to_variant(batches)],
        output_types=[part.dtype for part in flat],
        output_shapes=[part.shape for part in flat],
        stop_on_empty_dataset=True,
    )
    return tf.data.experimental.from_variant(variant, spec)
