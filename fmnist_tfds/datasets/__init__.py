"""The TFDS data sets, and the builders that they share."""
