"""The laboratory as a fixture; skips with "needs …" where a part cannot be had."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Iterator

import laboratory
import parts
import pytest


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[laboratory.Lab]:
    # Not under pytest's own folder: squid drops its rights and could not read there.
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        made = laboratory.Lab(pathlib.Path(folder))
        yield made
        made.close()


@pytest.fixture
def needs() -> Callable[..., None]:
    """`needs("squid", "openssl")` skips the test where a part is missing."""

    def check(*names: str) -> None:
        for name in names:
            if reason := parts.missing(name):
                pytest.skip(reason)

    return check
