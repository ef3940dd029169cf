"""Several workers on one data set: exactly once, in process and in two real ones."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil

import children
import keras
import numbered
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.cli import output
from fmnist_tfds.input_pipeline import replicas

TRAIN = children.ROOT / "scripts" / "train_multi_worker.py"


class Beside:
    """A strategy of two replicas: what the other one says is what this one says, but changed."""

    def __init__(self, old="", new=""):
        self._change = old.encode(), new.encode()

    def run(self, function):
        return function()

    def gather(self, rows, axis):
        mine = np.asarray(rows)
        text = bytes(mine.astype(np.uint8)[0]).rstrip().replace(*self._change).ljust(mine.size)
        return tf.concat([mine, np.frombuffer(text, np.uint8)[None].astype(np.int32)], axis)


def test_replicas_with_other_facts_or_packages_are_told_which():
    replicas.check_agreement(Beside(), seed=3)
    with pytest.raises(errors.ConfigError, match="seed: 3 on replica 0; 4 on replica 1"):
        replicas.check_agreement(Beside('"seed": 3', '"seed": 4'), seed=3)
    version = importlib.metadata.version("tensorflow")
    changed = Beside(f'"version of tensorflow": "{version}"', '"version of tensorflow": "1.0"')
    said = f'version of tensorflow: "{version}" on replica 0; "1.0" on replica 1'
    with pytest.raises(errors.ConfigError, match=re.escape(said)):
        replicas.check_agreement(changed, seed=3)
    with pytest.raises(errors.ArgumentError, match="facts: expected at most 4,096 bytes"):
        replicas.check_agreement(Beside(), seed="3" * 4096)


def cluster(processes, count, script, *options, different=()):
    """`count` worker processes of one cluster; `different` are further options of each."""
    ports = [f"127.0.0.1:{processes.port()}" for _ in range(count)]
    return [
        processes.start(
            script,
            *options,
            *(different[index] if different else ()),
            environ={
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": ports}, "task": {"type": "worker", "index": index}}
                )
            },
        )
        for index in range(count)
    ]


def shares(data_dir, count, batch_size, make=input_pipeline.make_train, **options):
    """What each worker is given in one epoch: numbers, and how long its batches are."""
    found = []
    for index in range(count):
        batches = make(
            batch_size,
            data_dir=data_dir,
            name="numbered_clothes",
            dtype="uint8",
            shard=(index, count),
            verify=False,
            **options,
        )
        parts = [numbered.numbers(images) for images, _ in batches]
        assert len(parts) == int(batches.cardinality())
        found.append(parts)
    return found


@pytest.mark.parametrize("source", ["resident", "stream"])
@pytest.mark.parametrize(("count", "batch_size"), [(2, 1009), (3, 37)])
def test_workers_get_every_example_exactly_once(numbered_data, count, batch_size, source):
    parts = shares(numbered_data, count, batch_size, source=source, seed=3)
    every = np.concatenate([part for worker in parts for part in worker])
    np.testing.assert_array_equal(np.sort(every), np.arange(numbered.TRAIN))
    sizes = [sum(map(len, worker)) for worker in parts]
    assert max(sizes) - min(sizes) <= (1 if source == "resident" else 120)


def test_workers_that_drop_the_remainder_take_equally_many_steps(numbered_data):
    # 10,006 and 10,005 examples: with 667 one of them would take a step more.
    parts = shares(numbered_data, 2, 667, drop_remainder=True)
    assert [len(worker) for worker in parts] == [15, 15]
    every = np.concatenate([part for worker in parts for part in worker])
    assert len(set(every.tolist())) == len(every) == 2 * 15 * 667


def test_eval_over_workers_is_exact(numbered_data):
    parts = shares(numbered_data, 3, 64, make=input_pipeline.make_eval)
    every = np.concatenate([part for worker in parts for part in worker])
    np.testing.assert_array_equal(np.sort(every), np.arange(numbered.TEST))


OPTIONS = ("--dataset", "numbered_few", "--batch_size", 143)


def assert_one_model(results, work):
    """Both workers say that they trained the same for one epoch, on all examples, and kept it."""
    first, second = results
    assert [epoch["examples"] for epoch in first["epochs"]] == [numbered.FEW_TRAIN]
    # The share of 1,002 takes eight batches, the other seven: it goes on without data.
    assert [epoch["steps"] for epoch in first["epochs"]] == [8]
    assert first["test_examples"] == numbered.FEW_TEST
    assert first | {"worker": 1} == second
    model = keras.models.load_model(work / "model.keras")
    weights = sum(np.abs(np.asarray(v)).sum(dtype=np.float64) for v in model.trainable_variables)
    assert weights == pytest.approx(first["weights"], rel=1e-5)
    images = np.zeros((1, 28, 28, 1), np.uint8)
    assert np.isfinite(model.predict_on_batch(images)).all()
    assert isinstance(model.layers[0], keras.layers.Rescaling), "it takes pixels as they are"


@pytest.mark.slow
def test_worker_processes_with_different_seeds_are_told(processes, numbered_data):
    options = ("--data_dir", numbered_data, *OPTIONS)
    workers = cluster(processes, 2, TRAIN, *options, different=[("--seed", 0), ("--seed", 1)])
    for worker in workers:
        assert worker.wait() == output.exit_code(errors.ConfigError("")) == 2
        assert "the 2 replicas do not train alike" in worker.output
        assert "seed: 0 on replica 0; 1 on replica 1" in worker.output
        assert "Traceback" not in worker.output


@pytest.mark.slow
def test_killed_workers_started_again_go_on_from_the_newest_epoch_that_any_has_whole(
    processes, numbered_data, tmp_path
):
    work = tmp_path / "work"
    options = ("--data_dir", numbered_data, *OPTIONS, "--workdir", work, "--epochs")
    first, second = cluster(processes, 2, TRAIN, *options, 99_999)
    first.wait_for("epoch 2: ")
    second.wait_for("epoch 2: ")
    second.kill()
    assert first.wait() == 1, "a killed worker ends the others, in bounded time"
    assert "Error" in first.output
    # The node of the first is replaced; on the second the newest file is cut short.
    shutil.rmtree(work / "worker-0")
    before, newest = sorted((work / "worker-1").glob("*.npz"))[-2:]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    done = int(before.stem.removeprefix("epoch-"))
    kept = before.read_bytes()
    workers = cluster(processes, 2, TRAIN, *options, done + 1)
    assert_one_model([worker.result() for worker in workers], work)
    for worker in workers:
        assert f"going on after epoch {done}\n" in worker.output
    assert f"{newest} is damaged and not used" in workers[1].output
    assert before.read_bytes() == kept
    with np.load(before) as ours, np.load(work / "worker-0" / before.name) as handed_out:
        assert ours.files == handed_out.files
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], handed_out[name])
