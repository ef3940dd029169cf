"""Fixtures of the cluster tests: processes, and small prepared data sets whose pixels name them."""

from __future__ import annotations

import children
import numbered
import pytest


@pytest.fixture
def processes(tmp_path):
    """Starts processes; whatever still runs at the end is ended."""
    started = children.Children(tmp_path)
    yield started
    started.end()


@pytest.fixture(scope="session")
def numbered_data(tmp_path_factory):
    """data_dir with numbered_clothes and numbered_few prepared."""
    folder = tmp_path_factory.mktemp("numbered")
    for builder in (numbered.Builder, numbered.FewBuilder):
        builder(data_dir=str(folder)).download_and_prepare()
    return folder
