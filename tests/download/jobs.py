"""A download job as the promise tests run it: by a clock of its own, out of reach of chance."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import family

from fmnist_tfds import obtain
from fmnist_tfds.config import settings
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.policy import downloader

DATASET, BODIES = family.make()
BIG = DATASET.files[0]
BODY = BODIES[BIG.name]
NETWORK = settings.Network(
    connect_timeout_s=60.0,
    read_timeout_s=60.0,
    backoff_s=0.02,
    hedge_after_s=60.0,
    deadline_s=300.0,
)
# How long a server of these tests waits for what must come, in real seconds.
LONGEST_S = 60.0
# How long it waits for what must not come: a fault that is slower than this passes unseen.
MOMENT_S = 0.25


class Clock:
    """A clock that stands still, but for `sleep` and for who sets `now`; remembers the sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Seen:
    """A progress report that remembers: notes, files, and how many bytes have been seen."""

    def __init__(self):
        self.notes = []
        self.files = {}
        self._received = 0
        self._changed = threading.Condition()

    def update(self, file, source, received, total):
        with self._changed:
            self._received = max(self._received, received)
            self._changed.notify_all()

    def note(self, text):
        self.notes.append(text)

    def done(self, file, source):
        self.files[file] = source

    def wait_for(self, received):
        """Waits until the job has seen so many bytes of a file."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._received >= received, LONGEST_S)


def options(tmp_path, *mirrors, environment=None, offline=False, manual_dir=None, **network):
    return settings.Settings(
        mirrors=tuple(m if isinstance(m, settings.Mirror) else settings.Mirror(m) for m in mirrors),
        cache_dir=tmp_path / "cache",
        network=dataclasses.replace(NETWORK, **network),
        environment=environment or settings.Environment(),
        offline=offline,
        manual_dir=manual_dir,
    )


def run(effective, *, files=(BIG,), clock=None, report=None, wall=None):
    """The result of fetching `files` by that clock, without jitter."""
    clock = clock or Clock()
    store = stores.Store(effective.cache_dir / DATASET.name, DATASET)
    return downloader.fetch_all(
        effective,
        files,
        store,
        report=report,
        clock=clock,
        sleep=clock.sleep,
        wall=lambda: wall or time.time(),
        rand=lambda: 0.0,
    )


def obtained(effective, **more):
    return obtain.obtain(effective, dataset=DATASET, **more)


def causes(result, file=BIG):
    return [a.cause for a in result.files[file.name].attempts if a.outcome == "failed"]


def is_here(result, file=BIG):
    path = result.files[file.name].path
    return path is not None and path.read_bytes() == BODIES[file.name]


def receipt(tmp_path):
    """The files of the receipt on the disk."""
    (path,) = tmp_path.rglob("receipt.json")
    return json.loads(path.read_text())["files"]


def cut(handler, body, count):
    """Promises `body` and sends the first `count` bytes of it."""
    family.send(handler, 200, body[:count], Content_Length=str(len(body)))
    handler.close_connection = True
