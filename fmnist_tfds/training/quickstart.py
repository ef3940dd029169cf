"""The first five minutes: obtain, prepare, train, and leave pictures and figures in one folder.

Where no source delivers, the same run on the stand-in, said so everywhere.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fmnist_tfds import catalog, errors, obtain
from fmnist_tfds.config import settings
from fmnist_tfds.datasets import obtained_builder
from fmnist_tfds.download import progress, results
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import plots, train

_LOG = logging.getLogger(__name__)

PICTURES = ("samples.png", "training_curve.png", "confusion_matrix.png")
BANNER_LINES = (
    "SYNTHETIC STAND-IN: this is NOT Fashion-MNIST.",
    "No source delivered the real data (see above). Everything below was made with",
    "generated silhouettes; no figure here says anything about Fashion-MNIST.",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Quickstart:
    """What quickstart did.

    Attributes:
        out: the folder with the pictures, metrics.json and receipt.json.
        data: "fashion-mnist" or "synthetic".
        metrics: what metrics.json holds.
        failure: why the real data is absent, or None.
    """

    out: pathlib.Path
    data: str
    metrics: dict[str, Any]
    failure: errors.ObtainError | None


def run(
    settings_: settings.Settings,
    out: pathlib.Path,
    *,
    data_dir: str = "",
    epochs: int = 5,
    report: progress.Progress | None = None,
    on_synthetic: Callable[[errors.ObtainError], None] = lambda _: None,
) -> Quickstart:
    """Obtains the data, prepares TFRecords, trains the fast CNN and draws the pictures.

    Args:
        settings_: where to get the data.
        out: folder to write.
        data_dir: TFDS data_dir; "": `out`/tfds.
        epochs: passes over the training split.
        report: progress of the downloads.
        on_synthetic: called with the failure before the stand-in is used.

    Raises:
        StoreError: out cannot be written.
        ConfigError: a setting is wrong.
        MissingExtraError: matplotlib is not installed.
    """
    plots.require_matplotlib()
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Nothing of an earlier run must pass for this one's.
        for name in ("receipt.json", "metrics.json", *PICTURES):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise errors.StoreError(
            f"cannot write to {out}: {error.strerror or error}", hint="choose another --out"
        ) from error
    outcome = obtain.obtain(settings_, progress=report)
    failure = outcome.error
    if failure is not None and not isinstance(failure, errors.ObtainError):
        raise failure
    if failure is not None:
        on_synthetic(failure)
    name = "fmnist_synthetic" if failure else "fmnist_resilient"
    data_dir = data_dir or str(out / "tfds")
    builder = _prepare(name, data_dir, outcome)
    receipt = _synthetic_receipt(failure) if failure else outcome.receipt
    (out / "receipt.json").write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    _LOG.info("training the fast CNN for %d epochs", epochs)
    config = _config(name, data_dir, epochs)
    workdir = out / f"training-{name}-{epochs}-epochs"
    found = train.train_and_evaluate(config, workdir)
    metrics = dict(found.metrics)
    if failure:
        metrics = {"WARNING": " ".join(BANNER_LINES), **metrics}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    _draw(out, builder, found)
    return Quickstart(out=out, data=metrics["data"], metrics=metrics, failure=failure)


def _config(dataset: str, data_dir: str, epochs: int) -> training_config.TrainingConfig:
    """The fast CNN with a tenth held out, in the precision that suits the machine."""
    return training_config.TrainingConfig(
        dataset=dataset,
        data_dir=data_dir,
        model="fast_cnn",
        epochs=epochs,
        batch_size=256,
        learning_rate=8e-3,
        schedule="linear",
        warmup=0.2,
        augment="altflip" if epochs > 1 else "flip",
    )


def _prepare(name: str, data_dir: str, outcome: results.Result) -> Any:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    _LOG.info("preparing TFRecords of %s in %s", name, data_dir)
    builder = tfds.builder(name, data_dir=data_dir)
    if outcome.error:
        builder.download_and_prepare()
        return builder
    paths = {name: file.path for name, file in outcome.files.items() if file.path}
    # The verified files are at hand: the builder needs no network of its own.
    with obtained_builder.one_folder(paths) as manual_dir:
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
    return builder


def _synthetic_receipt(failure: errors.ObtainError) -> dict[str, Any]:
    return {
        "data": catalog.FASHION_MNIST_SYNTHETIC.data_name,
        "WARNING": " ".join(BANNER_LINES),
        "source": "generated by fmnist_tfds.datasets.fmnist_synthetic",
        "failure": failure.message,
    }


def _draw(out: pathlib.Path, builder: Any, found: train.Evaluation) -> None:
    import tensorflow_datasets as tfds

    shown = [
        (example["image"][..., 0], example["label"])
        for example in tfds.as_numpy(builder.as_dataset(split="train[:1000]"))
    ]
    images = np.stack([image for image, _ in shown])
    labels = np.array([label for _, label in shown])
    dataset = catalog.DATASETS[builder.name]
    names, synthetic = dataset.class_names, dataset.is_generated
    samples, curve, confusion = (out / name for name in PICTURES)
    plots.samples(samples, images, labels, names, synthetic=synthetic)
    plots.training_curve(curve, found.history, synthetic=synthetic)
    plots.confusion_matrix(confusion, found.confusion, names, synthetic=synthetic)
