"""The builder in the main situations: prepared through a good mirror, or one error and no trace."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile

import laboratory
import parts
import pytest
import situations
import tensorflow_datasets as tfds
import trial

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds import catalog, errors
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient

pytestmark = pytest.mark.network_parts
# Without those that wait for silence to be noticed: that is the same for every file and caller.
MAIN = [s for s in situations.ALL if s.main and not s.network and s.environment is None]
BASE = catalog.FASHION_MNIST.mirrors[0]


@pytest.fixture(scope="module")
def builder_lab():
    """A laboratory whose labels are classes, so that TFDS can encode them."""
    random_payload = laboratory._payload

    def payload(shape: tuple[int, ...], seed: int) -> bytes:
        data = random_payload(shape, seed)
        return data if len(shape) > 1 else data[:8] + bytes(byte % 10 for byte in data[8:])

    patch = pytest.MonkeyPatch()
    patch.setattr(laboratory, "_payload", payload)
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        lab = laboratory.Lab(pathlib.Path(folder))
        dataset = dataclasses.replace(lab.dataset, mirrors=(BASE,))
        patch.setattr(resilient.Builder, "DATASET", dataset)
        yield lab
        lab.close()
    patch.undo()


def _builder(data_dir, mirrors, **network):
    """The builder under the laboratory's limits, as a site would set them."""
    values = {**dataclasses.asdict(trial.NETWORK), **network}
    lines = [f"{k} = {v}" for k, v in values.items() if isinstance(v, (int, float))]
    path = data_dir.with_suffix(".toml")
    path.write_text("[network]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tfds.builder(
        "fmnist_resilient", data_dir=data_dir, mirrors=mirrors, config_file=str(path)
    )


@pytest.mark.parametrize("situation", MAIN, ids=lambda s: s.name)
def test_builder_ends_as_fetch_does(situation, builder_lab, tmp_path):
    for part in situation.needs:
        if reason := parts.missing(part):
            pytest.skip(reason)
    mirrors = situation.mirrors(builder_lab)
    alone = _builder(tmp_path / "alone", mirrors, **situation.network)
    if situation.causes == ("ok",):
        alone.download_and_prepare()
        assert alone.info.splits["train"].num_examples == 300
        return
    with pytest.raises(errors.ObtainError) as caught:
        alone.download_and_prepare()
    assert any(cause in str(caught.value) for cause in situation.causes)
    assert not list((tmp_path / "alone").rglob("*.tfrecord*"))
    assert not list((tmp_path / "alone").rglob("incomplete*"))
    network = {**situation.network, "attempts": 6}
    rescued = _builder(tmp_path / "rescued", [*mirrors, builder_lab.good()], **network)
    rescued.download_and_prepare()
    assert rescued.info.splits["train"].num_examples == 300
