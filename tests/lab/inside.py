"""One `obtain` in a process of its own: in a network namespace, or to be killed.

Reads one JSON document from stdin: {"mirrors": [...], "cache_dir": ..., "network": {...},
"serve": true to start a good mirror on this process's loopback and list it last,
"real": true for Fashion-MNIST itself}. Prints one JSON document: the `trial.Outcome`.
"""

from __future__ import annotations

import json
import pathlib
import sys

import faults
import laboratory
import scripted
import trial

from fmnist_tfds import catalog
from fmnist_tfds.config import settings


def main() -> None:
    task = json.load(sys.stdin)
    dataset, bodies = laboratory.make_dataset()
    if task.get("real"):
        dataset = catalog.FASHION_MNIST
    mirrors = [settings.Mirror(url=url) for url in task["mirrors"]]
    with scripted.Server(bodies, faults.SCRIPTS) as server:
        if task.get("serve"):
            mirrors.append(settings.Mirror(url=server.base("ok")))
        effective = trial.settings_for(
            mirrors, pathlib.Path(task["cache_dir"]), **task.get("network", {})
        )
        outcome = trial.obtain_files(effective, dataset)
    files = outcome.files and {name: str(path) for name, path in outcome.files.items()}
    print(
        json.dumps(
            {
                "files": files,
                "error": outcome.error and str(outcome.error),
                "kind": outcome.error and type(outcome.error).__name__,
                "seconds": outcome.seconds,
                "hung": outcome.hung,
                "causes": outcome.causes,
                "tries": outcome.tries,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
