"""Files of any data set in the main situations: they end as the four files do, with the same cause.

The laboratory's servers serve them; here they are known by size and digest alone.
"""

from __future__ import annotations

import dataclasses

import parts
import pytest
import situations
import trial

from fmnist_tfds import artifacts, obtain
from fmnist_tfds.config import loader

pytestmark = pytest.mark.network_parts
# Without those that wait for silence to be noticed: that is the same for every file and caller.
MAIN = [s for s in situations.ALL if s.main and not s.network and s.environment is None]


def _plain(dataset):
    files = tuple(
        artifacts.Artifact(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)
        for file in dataset.files
    )
    return artifacts.ArtifactSet(name="any", title="any data set", files=files)


def _obtained(lab, folder, mirrors, network):
    found = loader.load(mirrors=mirrors, cache_dir=folder, environ={})
    found = dataclasses.replace(found, network=network)
    return obtain.obtain(found, dataset=_plain(lab.dataset))


@pytest.mark.parametrize("situation", MAIN, ids=lambda s: s.name)
def test_artifacts_end_as_the_four_files_do(situation, lab, tmp_path):
    for part in situation.needs:
        if reason := parts.missing(part):
            pytest.skip(reason)
    mirrors = situation.mirrors(lab)
    network = dataclasses.replace(trial.NETWORK, **situation.network)
    alone = _obtained(lab, tmp_path / "alone", mirrors, network)
    digests = {file.name: file.sha256 for file in lab.dataset.files}
    if situation.causes == ("ok",):
        assert alone.error is None
        assert {name: file.sha256 for name, file in alone.files.items()} == digests
        return
    # What only the catalog of Fashion-MNIST knows is another file to everybody else.
    expected = {"wrong-content" if cause == "impostor" else cause for cause in situation.causes}
    found = {a.cause for file in alone.files.values() for a in file.attempts if a.cause}
    assert found & (expected | {"checksum-mismatch"} if "wrong-content" in expected else expected)
    assert not [p for p in (tmp_path / "alone").rglob("*") if p.name in digests.values()]
    rescued = _obtained(
        lab, tmp_path / "rescued", [*mirrors, lab.good()], dataclasses.replace(network, attempts=6)
    )
    assert {name: file.sha256 for name, file in rescued.files.items()} == digests
