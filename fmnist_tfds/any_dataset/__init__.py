"""The same resilience under any TFDS data set."""
