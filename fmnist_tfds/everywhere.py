"""Importing this module switches `resilient` on for the process: `tfds build NAME --imports=…`.

By FMNIST_TFDS_MIRRORS, FMNIST_TFDS_CONFIG and the rest of the environment; see `any_dataset`.
"""

from __future__ import annotations

from fmnist_tfds import any_dataset

any_dataset.switch_on()
