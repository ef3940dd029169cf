"""What stock TFDS and Keras do in the same situations, each in a process with a hard time limit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import situations

# The calls that the stock fashion_mnist builder and keras.datasets.fashion_mnist.load_data make.
_TFDS = """
import json, sys, pathlib
task = json.load(sys.stdin)
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums
infos = {task["base"] + n: checksums.UrlInfo(size=s, checksum=h, filename=n)
         for n, (s, h) in task["files"].items()}
manager = tfds.download.DownloadManager(download_dir=task["folder"], url_infos=infos,
    force_checksums_validation=True)
manager.download({n: task["base"] + n for n in task["files"]})
"""
_KERAS = """
import json, sys
task = json.load(sys.stdin)
import keras
for name in task["files"]:
    keras.utils.get_file(name, origin=task["base"] + name, cache_dir=task["folder"],
                         cache_subdir="datasets/fashion-mnist")
"""
_PROGRAMS = {"TFDS": _TFDS, "Keras": _KERAS}


@dataclasses.dataclass(frozen=True)
class Peer:
    """How a stock tool fared: "files", "fails", "hangs", or "keeps a wrong file"."""

    tool: str
    outcome: str
    seconds: float
    said: str


def run(
    tool: str,
    situation: situations.Situation,
    lab: situations.Lab,
    folder: pathlib.Path,
    limit_s: float = 30.0,
) -> Peer:
    """One tool in one situation; import time is not counted in `seconds`' judgement."""
    mirror = situation.mirrors(lab)[0]
    task = {
        "base": mirror.url,
        "folder": str(folder),
        "files": {f.name: (f.size_bytes, f.sha256) for f in lab.dataset.files},
    }
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if mirror.proxy:
        environment |= {"http_proxy": mirror.proxy, "https_proxy": mirror.proxy}
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAMS[tool]],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Peer(tool, f"hangs (ended after {limit_s:.0f} s)", limit_s, "")
    seconds = time.monotonic() - start
    last = done.stderr.strip().splitlines()[-1][:160] if done.returncode else ""
    wrong = _wrong_files(lab, folder)
    if wrong:
        outcome = "keeps a wrong file" + (", silently" if done.returncode == 0 else "")
    else:
        outcome = "fails" if done.returncode else "files"
    return Peer(tool, outcome, seconds, last)


def _wrong_files(lab: situations.Lab, folder: pathlib.Path) -> list[str]:
    right = {f.sha256 for f in lab.dataset.files}
    names = {f.name for f in lab.dataset.files}
    return [
        path.name
        for path in folder.rglob("*")
        # TFDS leaves what failed in NAME.tmp.<random>/: not under a final name.
        if path.name in names
        and ".tmp." not in str(path.parent)
        and hashlib.sha256(path.read_bytes()).hexdigest() not in right
    ]
