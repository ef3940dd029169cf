"""The laboratory's servers, and the doctor that looks at them without waiting."""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lab"))

import laboratory
import parts

from fmnist_tfds.config import settings
from fmnist_tfds.doctor import report as doctor

NETWORK = settings.Network(connect_timeout_s=60.0, read_timeout_s=60.0)


@pytest.fixture(scope="module")
def lab():
    # Not under pytest's own folder: squid drops its rights and could not read there.
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        made = laboratory.Lab(pathlib.Path(folder))
        yield made
        made.close()


@pytest.fixture
def needs():
    def check(*names):
        for name in names:
            if reason := parts.missing(name):
                pytest.skip(reason)

    return check


def _slow_clock():
    """A tenth of the time: the doctor's own limits are not reached on a slow machine either."""
    return time.monotonic() / 10


@pytest.fixture
def examine(lab, tmp_path):
    """Examines mirrors with the laboratory's data set; never really sleeps."""

    def run(
        *mirrors,
        sleep=lambda seconds: None,
        clock=_slow_clock,
        proxies=None,
        bundle=None,
        network=NETWORK,
        dataset=lab.dataset,
        **options,
    ):
        environment = settings.Environment(proxies=proxies or {}, ca_bundle=bundle)
        found = settings.Settings(
            mirrors=mirrors,
            cache_dir=tmp_path / "cache",
            network=network,
            environment=environment,
            **options,
        )
        return doctor.examine(found, dataset=dataset, clock=clock, sleep=sleep)

    return run
