"""From anywhere to verified files. No TensorFlow, no TFDS; never imports exchange."""
