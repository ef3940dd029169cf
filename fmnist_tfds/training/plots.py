"""The pictures of quickstart: samples, training curve, confusion matrix. Needs matplotlib.

Every picture of the stand-in carries its banner.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors

SYNTHETIC_BANNER = "SYNTHETIC STAND-IN: this is NOT Fashion-MNIST"
_COLUMNS = 10
_BLUE, _ORANGE, _RED = "#2563a8", "#c8641e", "#b00020"


def require_matplotlib() -> None:
    """Raises MissingExtraError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise errors.MissingExtraError(
            "the pictures need matplotlib, which is not installed",
            hint="pip install 'fmnist_tfds[plots]'",
        ) from error


def samples(
    path: pathlib.Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    synthetic: bool,
) -> None:
    """A grid of ten examples of each class, one class a row, its name on the left.

    Args:
        path: PNG to write.
        images: uint8[n, 28, 28].
        labels: int64[n].
        class_names: ten names.
        synthetic: whether to print the banner.
    """
    figure = _figure((9.0, 9.4), synthetic, "Samples, one class a row")
    grid = figure.subplots(len(class_names), _COLUMNS)
    for row, name in enumerate(class_names):
        for axes, index in zip(grid[row], np.flatnonzero(labels == row)[:_COLUMNS], strict=False):
            axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
        for axes in grid[row]:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        grid[row][0].set_ylabel(f"{row}  {name}", rotation=0, ha="right", va="center")
    _save(figure, path)


def training_curve(path: pathlib.Path, history: list[dict[str, float]], *, synthetic: bool) -> None:
    """Accuracy and loss by epoch, of the training and of the hold-out where there is one."""
    figure = _figure((9.0, 4.2), synthetic, "Training")
    accuracy, loss = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    for axes, key, name in ((accuracy, "accuracy", "accuracy"), (loss, "loss", "loss")):
        for prefix, label, colour in (("", "training", _ORANGE), ("val_", "hold-out", _BLUE)):
            if prefix + key not in history[0]:
                continue
            values = [entry[prefix + key] for entry in history]
            axes.plot(epochs, values, marker="o", color=colour, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.set_xticks(epochs)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    _save(figure, path)


def confusion_matrix(
    path: pathlib.Path,
    confusion: npt.NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    synthetic: bool,
) -> None:
    """Counts over the test split; rows true, columns predicted."""
    accuracy = np.trace(confusion) / confusion.sum()
    title = f"Confusion matrix, {confusion.sum():,} test images, accuracy {accuracy:.1%}"
    figure = _figure((8.4, 7.6), synthetic, title)
    axes = figure.subplots()
    axes.imshow(confusion, cmap="Blues")
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(confusion):
        colour = "white" if count > confusion.max() / 2 else "black" if count else "#bbbbbb"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def _figure(size: tuple[float, float], synthetic: bool, title: str) -> Any:
    from matplotlib import figure as mpl_figure

    figure = mpl_figure.Figure(figsize=size, layout="constrained")
    if synthetic:
        figure.suptitle(f"{SYNTHETIC_BANNER}\n{title}", color=_RED, fontweight="bold")
    else:
        figure.suptitle(title)
    return figure


def _save(figure: Any, path: pathlib.Path) -> None:
    figure.savefig(path, dpi=110)
