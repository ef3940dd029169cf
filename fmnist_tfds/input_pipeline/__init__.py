"""TFRecords to batches on the accelerator. Never imports the builders or download."""

from fmnist_tfds.input_pipeline.device import make_device_train
from fmnist_tfds.input_pipeline.pipeline import make_eval, make_train, pixel_statistics
from fmnist_tfds.input_pipeline.preprocess import Preprocess

__all__ = ["Preprocess", "make_device_train", "make_eval", "make_train", "pixel_statistics"]
