"""python -m fmnist_tfds.cli: the same as the command `fmnist-tfds`."""

from fmnist_tfds.cli import main

if __name__ == "__main__":
    main.main()
