"""The [training] table of a TOML file, as a checked value."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import toml_file


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The [training] table.

    Attributes:
        dataset: TFDS name of a prepared data set.
        data_dir: TFDS data_dir, or "" for TFDS's default.
        model: "small_cnn" (about 0.4 M parameters) or "wide_cnn" (about 3.8 M).
        epochs: passes over the training split.
        batch_size: examples per step.
        eval_batch_size: examples per evaluation step; the last batch may be smaller.
        learning_rate: peak of the cosine schedule.
        seed: of the shuffling, the augmentation and the initial weights.
        augment: what `make_train` takes, or "" for none.
        normalize: "unit" or "standard".
        source: "resident" or "stream".
        verify: prove the data by the catalog's digests; off for a part of the data only.
        precision: "auto" (mixed where a GPU is), "float32", "mixed_float16", "mixed_bfloat16".
        jit_compile: "auto" (where a GPU is), "on" or "off".
    """

    dataset: str = "fmnist_resilient"
    data_dir: str = ""
    model: Literal["small_cnn", "wide_cnn"] = "small_cnn"
    epochs: int = 5
    batch_size: int = 128
    eval_batch_size: int = 1000
    learning_rate: float = 2e-3
    seed: int = 0
    augment: str = ""
    normalize: Literal["unit", "standard"] = "standard"
    source: Literal["resident", "stream"] = "resident"
    verify: bool = True
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    jit_compile: Literal["auto", "on", "off"] = "auto"

    @classmethod
    def from_table(cls, table: dict[str, Any], *, where: str = "[training]") -> TrainingConfig:
        """The checked table.

        Raises:
            ConfigError: an unknown key, a wrong type or a value out of range.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for key, value in table.items():
            if key not in defaults:
                raise errors.ConfigError(
                    f"{where}: unknown key {key!r}",
                    hint=f"the nearest valid key is {toml_file.nearest(key, defaults)!r}",
                )
            wanted: Any = type(defaults[key])
            if wanted is float and isinstance(value, int) and not isinstance(value, bool):
                continue
            if type(value) is not wanted:
                raise errors.ConfigError(
                    f"{where}.{key}: expected {wanted.__name__}, got {value!r}"
                )
        config = cls(**table)
        for key, choices in _CHOICES.items():
            if getattr(config, key) not in choices:
                raise errors.ConfigError(
                    f"{where}.{key}: expected one of {', '.join(choices)}, "
                    f"got {getattr(config, key)!r}"
                )
        for key in ("epochs", "batch_size", "eval_batch_size", "learning_rate"):
            if getattr(config, key) <= 0:
                raise errors.ConfigError(
                    f"{where}.{key}: expected more than 0, got {getattr(config, key)}"
                )
        return config


_CHOICES = {
    "dataset": tuple(catalog.DATASETS),
    "model": ("small_cnn", "wide_cnn"),
    "normalize": ("unit", "standard"),
    "source": ("resident", "stream"),
    "precision": ("auto", "float32", "mixed_float16", "mixed_bfloat16"),
    "jit_compile": ("auto", "on", "off"),
}
