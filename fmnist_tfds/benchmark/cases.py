"""What the benchmark measures, one case per process: `python -m fmnist_tfds.benchmark.cases`.

Arguments: CASE DATA_DIR FILES OUT; writes one JSON document to OUT.
"""

from __future__ import annotations

import functools
import gc
import gzip
import importlib
import importlib.util
import itertools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from fmnist_tfds import processes
from fmnist_tfds.benchmark import training_cases

BATCHES = (128, 1024, 8192)
_EXAMPLES = 60_000


def _timed(work: Callable[[], object]) -> dict[str, float]:
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": processes.peak_memory_bytes()}


def _drain(batches: Iterable[Any]) -> int:
    return sum(1 for _ in batches)


def _build(name: str, data_dir: str, files: str) -> dict[str, float]:
    import tensorflow_datasets as tfds

    import fmnist_tfds  # noqa: F401

    builder = tfds.builder(name, data_dir=data_dir)
    config = tfds.download.DownloadConfig(manual_dir=files)
    return _timed(lambda: builder.download_and_prepare(download_config=config))


def _build_array_record(data_dir: str, files: str) -> dict[str, float]:
    """For grain, which reads no TFRecords."""
    import tensorflow_datasets as tfds

    import fmnist_tfds  # noqa: F401

    where = f"{data_dir}/array_record"
    builder = tfds.builder("fmnist_resilient", data_dir=where, file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=files)
    return _timed(lambda: builder.download_and_prepare(download_config=config))


def _build_stock(data_dir: str, files: str) -> dict[str, float]:
    return _build("fashion_mnist", data_dir, files)


def _build_resilient(data_dir: str, files: str) -> dict[str, float]:
    return _build("fmnist_resilient", data_dir, files)


def _build_floor(data_dir: str, files: str) -> dict[str, float]:
    """What a build cannot do without: the four files decompressed and written, in one thread."""

    def unpack() -> None:
        for path in sorted(pathlib.Path(files).glob("*.gz")):
            with (pathlib.Path(data_dir) / path.stem).open("wb") as out:
                out.write(gzip.decompress(path.read_bytes()))
                os.fsync(out.fileno())

    return _timed(unpack)


def _ready() -> Any:
    """TensorFlow imported and its runtime started."""
    import tensorflow as tf
    import tensorflow_datasets  # noqa: F401

    from fmnist_tfds import input_pipeline

    tf.constant(0)
    # A full collection of what the imports left takes 0.2 s, and may fall anywhere after them.
    gc.collect()
    return input_pipeline


def _first_batch(data_dir: str, files: str, verify: bool = True) -> dict[str, float]:
    pipeline = _ready()
    return _timed(lambda: next(iter(pipeline.make_train(1024, data_dir=data_dir, verify=verify))))


def _first_batch_unverified(data_dir: str, files: str) -> dict[str, float]:
    return _first_batch(data_dir, files, verify=False)


def _first_batch_floor(data_dir: str, files: str) -> dict[str, float]:
    """TensorFlow's own share of a first batch: the stages of make_train, with nothing in them."""
    _ready()
    import tensorflow as tf

    plain = tf.autograph.experimental.do_not_convert
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False

    def first() -> Any:
        epochs = tf.data.Dataset.range(1).flat_map(plain(tf.data.Dataset.from_tensors))
        return next(
            iter(epochs.map(plain(lambda x: x), num_parallel_calls=2).with_options(options))
        )

    return _timed(first)


def _stream_epoch(data_dir: str, files: str) -> dict[str, float]:
    make, arguments = _ready().make_train, {"dtype": "uint8", "source": "stream"}
    return _timed(lambda: _drain(make(1024, data_dir=data_dir, **arguments)))


def _stock(data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.load("fashion_mnist", split="train", data_dir=data_dir, as_supervised=True)


def _stock_epoch(data_dir: str, files: str) -> dict[str, float]:
    _ready()
    return _timed(lambda: _drain(_stock(data_dir).batch(1024)))


def _bare(data_dir: str, files: str) -> dict[str, float]:
    _ready()
    return _timed(lambda: None)


def _warm(data_dir: str, files: str, repeats: int = 5) -> dict[str, Any]:
    """Images/s of each peer at each batch size: medians of interleaved epochs."""
    import numpy as np

    make = _ready().make_train
    whole = next(iter(make(_EXAMPLES, data_dir=data_dir, dtype="uint8")))
    images, labels = (np.array(part) for part in whole)
    result: dict[str, Any] = {"absent": []}
    for batch in BATCHES:
        peers = _peers(make, data_dir, images, labels, batch)
        rates: dict[str, list[float]] = {name: [] for name in peers}
        for turn in range(repeats + 1):
            for name, epoch in peers.items():
                started = time.perf_counter()
                done = min(_EXAMPLES, epoch() * batch)
                if turn:
                    rates[name].append(done / (time.perf_counter() - started))
        result |= {f"{name} {batch}": statistics.median(found) for name, found in rates.items()}
    result["absent"] = [name for name in ("torch", "grain") if not importlib.util.find_spec(name)]
    return result


def _peers(
    make: Any, data_dir: str, images: Any, labels: Any, batch: int
) -> dict[str, Callable[[], int]]:
    """What each peer does in one epoch; returns how many batches it gave."""
    import numpy as np
    import tensorflow as tf

    from fmnist_tfds import input_pipeline

    rng = np.random.default_rng(0)
    peers: dict[str, Callable[[], int]] = {}
    for source in ("resident", "stream"):
        endless = iter(make(batch, data_dir=data_dir, source=source, epochs=None))
        single = make(batch, data_dir=data_dir, source=source)
        peers[f"{source}, endless"] = functools.partial(_take, endless, _EXAMPLES // batch)
        peers[f"{source}, by epoch"] = functools.partial(_drain, single)
    arrays = input_pipeline.numpy_batches((images, labels), batch)
    peers["numpy_batches, by epoch"] = functools.partial(_drain, arrays)

    def unit(image: Any, label: Any) -> Any:
        return tf.cast(image, tf.float32) / 255.0, label

    def numpy_epoch() -> int:
        order = rng.permutation(_EXAMPLES)
        for start in range(0, _EXAMPLES, batch):
            index = order[start : start + batch]
            _ = images[index].astype(np.float32) / np.float32(255), labels[index]
        return -(-_EXAMPLES // batch)

    auto = tf.data.AUTOTUNE
    tutorial = _stock(data_dir).map(unit, num_parallel_calls=auto).cache()
    tutorial = tutorial.shuffle(_EXAMPLES).batch(batch).prefetch(auto)
    slices = tf.data.Dataset.from_tensor_slices((images.astype(np.float32) / 255, labels))
    slices = slices.shuffle(_EXAMPLES).batch(batch)
    peers["tutorial"] = functools.partial(_drain, tutorial)
    peers["from_tensor_slices"] = functools.partial(_drain, slices)
    if importlib.util.find_spec("torch"):
        peers["torch DataLoader"] = _torch_epoch(images, labels, batch)
    peers["numpy"] = numpy_epoch
    return {**peers, "memcpy": lambda: -(-len(images.copy()) // batch)}


def _take(batches: Any, steps: int) -> int:
    return _drain(itertools.islice(batches, steps))


def _torch_epoch(images: Any, labels: Any, batch: int) -> Callable[[], int]:
    torch: Any = importlib.import_module("torch")

    tensors = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    data = torch.utils.data.TensorDataset(*tensors)
    return lambda: _drain(torch.utils.data.DataLoader(data, batch, shuffle=True))


def _grain(data_dir: str, files: str, repeats: int = 3) -> dict[str, float]:
    """Images/s of grain over array_record, looked up batch by batch.

    Its iterators read 500 elements ahead in 16 threads: of whole batches that would be measured.
    """
    import numpy as np
    import tensorflow_datasets as tfds

    grain: Any = importlib.import_module("grain")
    where = f"{data_dir}/array_record"
    builder = tfds.builder("fmnist_resilient", data_dir=where, file_format="array_record")

    def unit(example: Any) -> Any:
        return example["image"].astype(np.float32) / np.float32(255), example["label"]

    source = grain.MapDataset.source(builder.as_data_source("train"))
    result = {}
    for batch in BATCHES:
        batches = source.shuffle(seed=0).map(unit).batch(batch)
        # At this rate an epoch takes seconds: at least 8,192 examples of it.
        count, rates = max(2, 8192 // batch), []
        for _ in range(repeats):
            started = time.perf_counter()
            done = sum(len(batches[step][1]) for step in range(count))
            rates.append(done / (time.perf_counter() - started))
        result[f"grain MapDataset {batch}"] = statistics.median(rates)
    return result


def _step(data_dir: str, files: str) -> dict[str, Any]:
    _ready()
    return training_cases.step(data_dir)


def _fit(data_dir: str, files: str) -> dict[str, float]:
    return training_cases.fit(data_dir)


_CASES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "build_array_record": _build_array_record,
    "build_stock": _build_stock,
    "build_resilient": _build_resilient,
    "build_floor": _build_floor,
    "first_batch": _first_batch,
    "first_batch_unverified": _first_batch_unverified,
    "first_batch_floor": _first_batch_floor,
    "stream_epoch": _stream_epoch,
    "stock_epoch": _stock_epoch,
    "bare": _bare,
    "warm": _warm,
    "grain": _grain,
    "step": _step,
    "fit": _fit,
}

if __name__ == "__main__":
    _case_name, _data_dir, _files, _out = sys.argv[1:]
    _found = _CASES[_case_name](_data_dir, _files)
    pathlib.Path(_out).write_text(json.dumps(_found), encoding="utf-8")
