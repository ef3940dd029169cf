"""TFDS dataset folder of Fashion-MNIST from mirrors or a folder."""
