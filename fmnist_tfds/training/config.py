"""The [training] table of a TOML file, as a checked value."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import schema


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The [training] table.

    Attributes:
        dataset: TFDS name of a prepared data set.
        data_dir: TFDS data_dir, or "" for TFDS's default.
        split: what is trained on, in TFDS's words.
        validation_split: what is held out of the training split and evaluated after each epoch;
            "" for nothing.
        model: "small_cnn" (about 0.4 M parameters), "wide_cnn" (about 3.8 M) or "fast_cnn" (as
            small, with batch normalisation: most accuracy per second on a CPU).
        epochs: passes over the training split.
        batch_size: examples per step.
        eval_batch_size: examples per evaluation step; the last batch may be smaller.
        learning_rate: the peak of its schedule.
        schedule: how it falls from there to 0: "cosine" or "linear".
        warmup: the part of all steps in which the learning rate rises to its peak, 0 to below 1.
        label_smoothing: the part of the loss that goes to all classes alike, 0 to below 1.
        test_time_flips: whether metrics.json gets a second accuracy, of each test image and its
            mirror image together; the first stays that of the saved model alone.
        seed: of the shuffling, the augmentation and the initial weights.
        augment: what `make_train` takes, or "" for none.
        normalize: "unit" or "standard".
        source: "resident" or "stream".
        verify: prove the data by the catalog's digests; off for a part of the data only.
        precision: "auto" (mixed where a GPU is), "float32", "mixed_float16", "mixed_bfloat16".
        jit_compile: "auto" (where a GPU is), "on" or "off".
    """

    dataset: str = schema.one_of("fmnist_resilient", catalog.DATASETS)
    data_dir: str = ""
    split: str = "train[:90%]"
    validation_split: str = "train[90%:]"
    model: Literal["small_cnn", "wide_cnn", "fast_cnn"] = "small_cnn"
    epochs: int = schema.positive(5)
    batch_size: int = schema.positive(128)
    eval_batch_size: int = schema.positive(1000)
    learning_rate: float = schema.positive(2e-3)
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = schema.fraction(0.0)
    label_smoothing: float = schema.fraction(0.0)
    test_time_flips: bool = False
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

        def error(message: str, hint: str) -> errors.ConfigError:
            return errors.ConfigError(message, hint=hint)

        return cls(**schema.check(table, cls, where, error))


# The fast CNN as quickstart trains it; the speedruns differ in epochs, smoothing and splits alone.
FAST_CNN = TrainingConfig(
    model="fast_cnn",
    batch_size=256,
    learning_rate=8e-3,
    schedule="linear",
    warmup=0.2,
    augment="altflip",
)
