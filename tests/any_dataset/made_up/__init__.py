"""A made-up TFDS data set."""
