"""Run as a trainer process: two epochs from a tf.data service; stops (SIGSTOP) half-way."""

from __future__ import annotations

import json
import os
import signal
import sys

import numbered

from fmnist_tfds import input_pipeline

data_dir, address = sys.argv[1:]
batches = input_pipeline.make_train(
    50, data_dir=data_dir, name="numbered_clothes", dtype="uint8", service=address, verify=False
)
epochs = []
for _ in range(2):
    seen: list[int] = []
    for number, (images, _) in enumerate(batches):
        seen.extend(numbered.numbers(images).tolist())
        if number == 40 and not epochs:
            os.kill(os.getpid(), signal.SIGSTOP)
    epochs.append({"examples": len(seen), "different": len(set(seen))})
print(json.dumps(epochs))
