"""An epoch in one call: images on the accelerator, the loop compiled. Never imports tf.data."""
