"""Trains on several hosts: an own loop under tf.distribute.MultiWorkerMirroredStrategy.

Start it once per host, with TF_CONFIG set or under srun (--cluster=slurm). Each worker takes its
share of one global order; every example comes exactly once per epoch over all workers, and the
gradient is the mean over the global batch, uneven last batches included. Keras 3.15's `fit` does
not run under this strategy (ValueError: PerReplica); under MirroredStrategy it does.

    export TF_CONFIG='{"cluster": {"worker": ["a:2222", "b:2222"]},
                       "task": {"type": "worker", "index": 0}}'
    python scripts/train_multi_worker.py --data_dir DIR --workdir DIR

Start it again after a failure, on whatever nodes: it goes on after the newest epoch that any worker
kept. The first worker leaves DIR/model.keras, which takes pixels of 0 to 255. The last line printed
is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.cli import output
from fmnist_tfds.input_pipeline import replicas
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import models, worker_state


def main() -> int:
    """Parses the flags and trains; prints one message for a user error."""
    arguments = _arguments()
    try:
        print(json.dumps(train(arguments)))
    except errors.FmnistError as error:
        output.print_error(error, as_json=False)
        return output.exit_code(error)
    return 0


def train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and evaluates; returns what this worker saw, and the figures over all."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if arguments.cluster == "slurm":
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    keras.utils.set_random_seed(arguments.seed)
    data = {"data_dir": arguments.data_dir, "name": arguments.dataset}
    pixels = {**data, "dtype": "uint8", "verify": arguments.verify}
    statistics = input_pipeline.pixel_statistics(**data)
    with strategy.scope():
        model = models.build_model(training_config.TrainingConfig(), statistics=statistics)
        optimizer = keras.optimizers.Adam(arguments.learning_rate)
        optimizer.build(model.trainable_variables)
    test = input_pipeline.make_eval(arguments.eval_batch_size, shard=_shard(strategy), **pixels)
    run = {
        "dataset": arguments.dataset,
        "seed": arguments.seed,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
    }
    replicas.check_agreement(strategy, **run, epochs=arguments.epochs)
    state = [*model.variables, *optimizer.variables]
    files = None
    if arguments.workdir is not None:
        # Each worker keeps its own: no shared folder needed.
        folder = arguments.workdir / f"worker-{resolver.task_id or 0}"
        files = worker_state.EpochFiles(folder, run)
    done = worker_state.adopt_newest(strategy, files, state)
    if done:
        print(f"going on after epoch {done}", flush=True)

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = input_pipeline.make_train(
            arguments.batch_size,
            seed=arguments.seed,
            shard=(context.input_pipeline_id, context.num_input_pipelines),
            service=arguments.service,
            **pixels,
        )
        for _ in range(done):  # each iteration is the next epoch
            next(iter(batches))
        return batches

    print(f"training with {strategy.num_replicas_in_sync} replicas", flush=True)
    batches = strategy.distribute_datasets_from_function(make)
    step = _make_step(strategy, model, optimizer)
    history = []
    for epoch in range(done + 1, arguments.epochs + 1):
        started, steps, seen, loss = time.perf_counter(), 0, 0, 0.0
        # A worker whose share is used up goes on with empty batches until all are done.
        for images, labels in batches:
            lost, count = step(images, labels)
            steps, seen, loss = steps + 1, seen + int(count), loss + float(lost)
        history.append({"examples": seen, "steps": steps, "loss": loss / max(seen, 1)})
        seconds = time.perf_counter() - started
        if files is not None:
            files.save(epoch, [np.asarray(variable) for variable in state])
        print(f"epoch {epoch}: {history[-1]} {seconds:.1f} s", flush=True)
    correct, total = _evaluate(strategy, model, test)
    if arguments.workdir is not None and _shard(strategy)[0] == 0:
        model.save(arguments.workdir / "model.keras")
    return {
        "worker": resolver.task_id,
        "epochs": history,
        "test_examples": total,
        "test_accuracy": correct / total,
        "weights": float(sum(tf.reduce_sum(tf.abs(v)) for v in model.trainable_variables)),
    }


def _make_step(strategy: tf.distribute.Strategy, model: Any, optimizer: Any) -> Any:
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def one(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        mine = tf.cast(tf.size(labels), tf.float32)
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
        images, labels = _never_empty(tf.cast(images, tf.float32), labels)
        with tf.GradientTape() as tape:
            loss = cross_entropy(labels, model(images, training=True)) * tf.minimum(mine, 1.0)
            scaled = loss / count
        gradients = tape.gradient(scaled, model.trainable_variables)
        # The optimizer adds up the gradients of all replicas.
        optimizer.apply(gradients, model.trainable_variables)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, loss), count

    @tf.function(reduce_retracing=True)
    def step(images: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
        results = strategy.run(one, args=(images, labels))
        return tuple(strategy.experimental_local_results(found)[0] for found in results)

    return step


def _never_empty(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The batch, or one blank example: TensorFlow's fused convolutions fail on empty batches."""
    blank = tf.cast(tf.equal(tf.size(labels), 0), tf.int32)
    return tf.pad(images, [[0, blank], [0, 0], [0, 0], [0, 0]]), tf.pad(labels, [[0, blank]])


def _evaluate(strategy: tf.distribute.Strategy, model: Any, test: Any) -> tuple[int, int]:
    """Correct and all, over the workers: each reads its own share, then one gathering."""
    mine = [0, 0]
    for images, labels in test:
        found = tf.argmax(model(images, training=False), axis=-1)
        mine[0] += int(tf.reduce_sum(tf.cast(found == labels, tf.int32)))
        mine[1] += len(labels)
    # Every replica of a worker hands in the same row: one of them counts.
    rows = replicas.gather(strategy, tf.constant([mine]))[:: len(strategy.extended.worker_devices)]
    correct, total = rows.sum(axis=0)
    return int(correct), int(total)


def _shard(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    resolver = strategy.cluster_resolver
    spec = resolver.cluster_spec().as_dict() or {"worker": [""]}
    chiefs = len(spec.get("chief", []))
    index = resolver.task_id or 0
    return index + (chiefs if resolver.task_type == "worker" else 0), chiefs + len(
        spec.get("worker", [])
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir")
    parser.add_argument("--dataset", default="fmnist_resilient")
    parser.add_argument("--workdir", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=128, help="per replica")
    parser.add_argument("--eval_batch_size", type=int, default=100, help="at most a share")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--service", help="grpc://HOST:PORT of a tf.data service")
    parser.add_argument("--cluster", choices=("tf_config", "slurm"), default="tf_config")
    parser.add_argument("--verify", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
