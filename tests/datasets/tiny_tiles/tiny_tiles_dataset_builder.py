"""`tiny_tiles`: with catalog.toml, README.md and TAGS.txt, all that a further data set needs."""

from __future__ import annotations

import pathlib

from fmnist_tfds import catalog
from fmnist_tfds.datasets import obtained_builder


class Builder(obtained_builder.ObtainedBuilder):
    """DatasetBuilder for tiny_tiles."""

    DATASET = catalog.read(pathlib.Path(__file__).with_name("catalog.toml"))
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the four .gz files of Tiny Tiles into manual_dir."
