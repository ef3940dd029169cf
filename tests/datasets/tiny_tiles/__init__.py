"""TFDS dataset folder of Tiny Tiles, a made-up data set of the family."""
