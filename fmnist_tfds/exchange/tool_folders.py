"""Where other tools keep a data set on this disk. Reads variables through config only.

Source: Keras (KERAS_HOME), TFDS (TFDS_DATA_DIR), PaddlePaddle, scikit-learn (SCIKIT_LEARN_DATA),
huggingface_hub and datasets (HF_HUB_CACHE, HF_DATASETS_CACHE, HF_HOME, XDG_CACHE_HOME), kagglehub
(KAGGLEHUB_CACHE).
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import home as homes
from fmnist_tfds.config import loader


def keras_home() -> pathlib.Path:
    """What Keras calls KERAS_HOME."""
    return _variable("KERAS_HOME") or _home("Keras's folder") / ".keras"


def tfds_data_dir() -> pathlib.Path:
    """What TFDS calls data_dir."""
    return _variable("TFDS_DATA_DIR") or _home("TFDS's data_dir") / "tensorflow_datasets"


def paddle_home() -> pathlib.Path:
    """What Paddle calls DATA_HOME."""
    return _home("Paddle's folder") / ".cache" / "paddle" / "dataset"


def existing(dataset: catalog.Catalog = catalog.FASHION_MNIST) -> list[pathlib.Path]:
    """The folders for that data set which exist, the likeliest first."""
    try:
        roots = {tool: root() for tool, root in _ROOTS.items()}
    except errors.ConfigError:
        return []  # they lie in a home folder that this user has not
    found: dict[pathlib.Path, None] = {}
    for each in dataset.tool_folders:
        if each.folder and (root := roots.get(each.tool)):
            found |= dict.fromkeys(place for place in sorted(root.glob(each.folder)))
    return [place for place in found if place.is_dir()]


def _hugging_face() -> pathlib.Path:
    cache = _variable("XDG_CACHE_HOME") or _home("Hugging Face's cache") / ".cache"
    return _variable("HF_HOME") or cache / "huggingface"


# Tool -> its root; MindSpore has none of its own, and a Git checkout lies anywhere.
_ROOTS: dict[str, Callable[[], pathlib.Path]] = {
    "keras": keras_home,
    "torchvision": lambda: pathlib.Path("data"),  # the root in its tutorials
    "tfds": tfds_data_dir,
    "paddle": paddle_home,
    "kaggle": lambda: pathlib.Path("/kaggle/input"),
    "kagglehub": lambda: (
        _variable("KAGGLEHUB_CACHE") or _home("kagglehub's cache") / ".cache" / "kagglehub"
    ),
    "huggingface_hub": lambda: _variable("HF_HUB_CACHE") or _hugging_face() / "hub",
    "datasets": lambda: _variable("HF_DATASETS_CACHE") or _hugging_face() / "datasets",
    "scikit-learn": lambda: (
        _variable("SCIKIT_LEARN_DATA") or _home("scikit-learn's data") / "scikit_learn_data"
    ),
}


def _variable(name: str) -> pathlib.Path | None:
    value = loader.variable(name)
    return homes.expanded(value) if value else None


def _home(what: str) -> pathlib.Path:
    return homes.folder(what, "--root")
