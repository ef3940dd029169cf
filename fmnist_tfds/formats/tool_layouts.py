"""Where other tools keep the files below a root of theirs, and in which form. Pure data.

Source: keras.datasets.fashion_mnist, torchvision.datasets.FashionMNIST, the TFDS download
manager's manual folder and its fashion_mnist, paddle.vision.datasets.FashionMNIST,
mindspore.dataset.FashionMnistDataset, the Git repository zalandoresearch/fashion-mnist, kagglehub,
huggingface_hub and datasets (repository names), OpenML (data id 40996, file 18238735).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Form = Literal["gz", "canonical", "payload", "other"]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One place where a tool looks.

    Attributes:
        tool: whose; "git" is a checkout of the repository.
        folder: below the tool's root; a pattern where the name varies.
        form: of the four files there: "gz" (any genuine gzip), "canonical" (the tool checks the
            hash of the .gz), "payload"; or "other", a container that only `adopt` reads.
        usage: the tool's own line once the files are planted, "{root}" to be filled in; "" where
            nothing is planted.
    """

    tool: str
    folder: str
    form: Form
    usage: str = ""


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "keras",
        "datasets/fashion-mnist",
        "gz",
        'KERAS_HOME={root} python -c "import keras; keras.datasets.fashion_mnist.load_data()"',
    ),
    Layout(
        "torchvision",
        "FashionMNIST/raw",
        "payload",
        "torchvision.datasets.FashionMNIST({root!r})",
    ),
    Layout(
        "tfds",
        "downloads/manual",
        "canonical",
        'tfds.load("fashion_mnist", data_dir={root!r})',
    ),
    Layout("paddle", "fashion-mnist", "canonical", "paddle.vision.datasets.FashionMNIST()"),
    Layout("mindspore", "", "payload", "mindspore.dataset.FashionMnistDataset({root!r})"),
    Layout("git", "data/fashion", "gz"),
    Layout("tfds", "downloads/fashion_mnist", "other"),
    Layout("tfds", "fashion_mnist", "other"),
    Layout("kaggle", "*fashion*mnist*", "other"),
    Layout("kagglehub", "datasets/zalando-research/fashionmnist", "other"),
    Layout("huggingface_hub", "datasets--zalando-datasets--fashion_mnist", "other"),
    Layout("datasets", "*fashion_mnist", "other"),
    Layout("scikit-learn", "openml/openml.org/data/v1/download/18238735", "other"),
)

# What `plant` can do: tool -> where its files go.
PLANTED = {layout.tool: layout for layout in LAYOUTS if layout.usage}
