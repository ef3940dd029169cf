#!/usr/bin/env python3
"""Measures the package beside its peers; the flags are those of `fmnist-tfds benchmark`."""

import sys

from fmnist_tfds.cli import main

if __name__ == "__main__":
    main.main(["benchmark", *sys.argv[1:]])
