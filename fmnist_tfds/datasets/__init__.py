"""The TFDS data sets, and the builders that they share."""

import importlib.util

if importlib.util.find_spec("tensorflow_datasets") is not None:
    # Whole, with our data sets entered, before a module of theirs begins that needs it.
    import tensorflow_datasets  # noqa: F401
