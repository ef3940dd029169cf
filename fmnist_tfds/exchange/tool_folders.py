"""Where other tools keep this data set on a disk. Reads variables through config only.

Source: Keras (KERAS_HOME), TFDS (TFDS_DATA_DIR), PaddlePaddle, scikit-learn (SCIKIT_LEARN_DATA),
huggingface_hub (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME), its datasets (HF_DATASETS_CACHE),
kagglehub (KAGGLEHUB_CACHE).
"""

from __future__ import annotations

import pathlib

from fmnist_tfds import errors
from fmnist_tfds.config import home as homes
from fmnist_tfds.config import loader

_KAGGLE_INPUT = pathlib.Path("/kaggle/input")


def keras_home() -> pathlib.Path:
    """What Keras calls KERAS_HOME."""
    return _variable("KERAS_HOME") or _home("Keras's folder") / ".keras"


def tfds_data_dir() -> pathlib.Path:
    """What TFDS calls data_dir."""
    return _variable("TFDS_DATA_DIR") or _home("TFDS's data_dir") / "tensorflow_datasets"


def paddle_home() -> pathlib.Path:
    """What Paddle calls DATA_HOME."""
    return _home("Paddle's folder") / ".cache" / "paddle" / "dataset"


def existing() -> list[pathlib.Path]:
    """The folders that exist, the likeliest first."""
    return list(dict.fromkeys(place for place in _candidates() if place.is_dir()))


def _candidates() -> list[pathlib.Path]:
    try:
        home = _home("other tools' folders")
    except errors.ConfigError:
        return []  # they lie in a home folder that this user has not
    cache = _variable("XDG_CACHE_HOME") or home / ".cache"
    hugging_face = _variable("HF_HOME") or cache / "huggingface"
    hub = _variable("HF_HUB_CACHE") or hugging_face / "hub"
    datasets = _variable("HF_DATASETS_CACHE") or hugging_face / "datasets"
    scikit = _variable("SCIKIT_LEARN_DATA") or home / "scikit_learn_data"
    kagglehub = _variable("KAGGLEHUB_CACHE") or home / ".cache" / "kagglehub"
    inputs = sorted(_KAGGLE_INPUT.glob("*fashion*mnist*")) if _KAGGLE_INPUT.is_dir() else []
    return [
        keras_home() / "datasets" / "fashion-mnist",
        tfds_data_dir() / "downloads" / "manual",
        tfds_data_dir() / "downloads" / "fashion_mnist",
        tfds_data_dir() / "fashion_mnist",
        paddle_home() / "fashion-mnist",
        pathlib.Path("data") / "FashionMNIST" / "raw",
        *inputs,
        kagglehub / "datasets" / "zalando-research" / "fashionmnist",
        hub / "datasets--zalando-datasets--fashion_mnist",
        datasets / "zalando-datasets___fashion_mnist",
        datasets / "fashion_mnist",
        scikit / "openml" / "openml.org" / "data" / "v1" / "download" / "18238735",
    ]


def _variable(name: str) -> pathlib.Path | None:
    value = loader.variable(name)
    return homes.expanded(value) if value else None


def _home(what: str) -> pathlib.Path:
    return homes.folder(what, "--root")
