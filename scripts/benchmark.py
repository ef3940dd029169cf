#!/usr/bin/env python3
"""Measures the package beside its peers; the flags are those of `fmnist-tfds benchmark`."""

import sys

from fmnist_tfds import cli

if __name__ == "__main__":
    cli.main(["benchmark", *sys.argv[1:]])
