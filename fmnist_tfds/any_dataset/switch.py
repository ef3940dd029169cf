"""Any TFDS data set through the same mirrors, proxies, cache and causes as `fmnist_resilient`.

    with fmnist_tfds.resilient(mirrors="https://artifactory.example/tfds/,default"):
        tfds.load("kmnist")

TFDS extracts and generates as ever.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from fmnist_tfds.any_dataset import active, plan, seam
from fmnist_tfds.config import settings


@contextlib.contextmanager
def resilient(
    *,
    mirrors: str | Iterable[str | settings.Mirror] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    deadline_s: float | None = None,
    offline: bool | None = None,
) -> Iterator[plan.Plan]:
    """Inside the `with`, every TFDS data set downloads through mirrors, cache and causes.

    Leaving it restores TFDS as it was, also after an exception. Blocks may be nested and entered
    from several threads: a thread's innermost holds there.

    Args:
        mirrors: the mirror list; "default" is the original URL. Absent: the original URL alone.
        config_file: TOML file with mirrors, proxies, certificates, rewrites.
        manual_dir: folder whose files are taken by their digests before the network is asked.
        cache_dir: where verified files are kept, by digest.
        deadline_s: seconds for each file; absent: 600, and one more for every 100 kB.
        offline: open no socket.

    Yields:
        The plan that holds inside.

    Raises:
        ConfigError: a setting is wrong, or this TFDS is not one that is supported.
        ObtainError: from `tfds.load`, where no source delivers a file.
    """
    made = plan.make(
        mirrors=mirrors,
        config_file=config_file,
        manual_dir=manual_dir,
        cache_dir=cache_dir,
        deadline_s=deadline_s,
        offline=offline,
    )
    entry = _enter(made)
    try:
        yield made
    finally:
        with active.lock:
            if active.discard(entry):
                seam.remove()


def switch_on() -> None:
    """The same for the rest of the process, by environment and TOML file; see `everywhere`."""
    _enter(plan.make())


def _enter(made: plan.Plan) -> tuple[int, plan.Plan]:
    with active.lock:
        seam.install()
        return active.add(made)
