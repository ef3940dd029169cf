"""`fmnist_resilient`: Fashion-MNIST from mirrors or from a folder, every byte proved."""

from __future__ import annotations

from fmnist_tfds import catalog
from fmnist_tfds.datasets import obtained_builder


class Builder(obtained_builder.ObtainedBuilder):
    """DatasetBuilder for fmnist_resilient.

    Args of the constructor, besides TFDS's own (`builder_kwargs` of `tfds.load`):
        mirrors: list of mirrors, as names, URLs or folders; see README.
        config_file: TOML file with mirrors, proxies and certificates.
    """

    DATASET = catalog.FASHION_MNIST
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Not needed where a mirror answers. Otherwise put the four .gz files of Fashion-MNIST "
        "(or their decompressed form) into manual_dir: "
        + ", ".join(file.name for file in catalog.FASHION_MNIST.files)
    )
