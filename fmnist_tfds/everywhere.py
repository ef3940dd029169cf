"""Importing this module switches `resilient` on for the process: `tfds build NAME --imports=…`.

By FMNIST_TFDS_MIRRORS, FMNIST_TFDS_CONFIG and the like; see `any_dataset.switch`.
"""

from __future__ import annotations

from fmnist_tfds.any_dataset import switch

switch.switch_on()
