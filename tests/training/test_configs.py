"""Every file in configs/ loads as it stands, once the site's own CA file lies beside it."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import tomllib

import pytest

from fmnist_tfds import catalog
from fmnist_tfds.config import loader, settings
from fmnist_tfds.training import config as training_config

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.toml"))
# What a reader of the file expects to be asked, in that order.
FIRST_MIRROR = {
    "default": catalog.FASHION_MNIST.mirrors[0],
    "corporate-proxy": catalog.FASHION_MNIST.mirrors[0],
    "artifactory": "https://artifactory.corp.example/artifactory/datasets/fashion-mnist/",
    "china": "https://dataset.bj.bcebos.com/fashion_mnist/",
    "tls-intercepted": catalog.FASHION_MNIST.mirrors[0],
    "air-gapped": None,
}


@pytest.fixture
def site(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of configs/ with stand-ins for the certificate files that a site adds."""
    shutil.copytree(CONFIGS, tmp_path / "configs")
    for name in ("corp-ca.pem", "firewall-ca.pem"):
        (tmp_path / "configs" / name).write_text("a stand-in, never opened\n")
    return tmp_path / "configs"


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_config_loads(site, name):
    found = loader.load(config_file=site / name, environ={})
    assert found.config_file == site / name
    if name.startswith(("training-", "speedrun")):
        assert training_config.TrainingConfig.from_table(loader.training_table(site / name))
    else:
        first = found.mirrors[0].url if found.mirrors else None
        assert first == FIRST_MIRROR[name.removesuffix(".toml")]


@pytest.mark.parametrize(
    ("name", "changes"),
    [("speedrun.toml", {"epochs": 4}), ("speedrun-93.toml", {"epochs": 8, "label_smoothing": 0.1})],
)
def test_speedruns_are_the_fast_cnn_on_the_whole_training_split(site, name, changes):
    found = training_config.TrainingConfig.from_table(loader.training_table(site / name))
    whole = {"split": "train", "validation_split": "", "test_time_flips": True}
    wanted = {**whole, "precision": "mixed_bfloat16", **changes}
    assert found == dataclasses.replace(training_config.FAST_CNN, **wanted)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_config_begins_with_when_to_use_it(file):
    assert file.read_text(encoding="utf-8").startswith("# Use this when ")


def test_default_config_says_what_happens_without_a_file(site):
    found = loader.load(config_file=site / "default.toml", environ={})
    assert found.network == settings.Network()
    assert found.mirrors == loader.load(environ={}).mirrors
    named = tomllib.loads((site / "default.toml").read_text())["network"]
    optional = {"proxy", "ca_bundle"}
    assert set(named) | optional == set(settings.Network.__dataclass_fields__)


def test_air_gapped_config_opens_no_socket(site):
    found = loader.load(config_file=site / "air-gapped.toml", environ={})
    assert found.offline
    assert found.mirrors == ()
    assert found.manual_dir == pathlib.Path("/mnt/datasets/fashion-mnist")


def test_artifactory_config_goes_round_the_proxy_and_holds_no_secret(site):
    environ = {"HTTPS_PROXY": "http://proxy.corp.example:3128"}
    found = loader.load(config_file=site / "artifactory.toml", environ=environ)
    inside, outside = found.mirrors[0], found.mirrors[1]
    assert found.route(inside, inside.url).proxy is None
    assert found.route(outside, outside.url).proxy == "http://proxy.corp.example:3128"
    assert inside.auth is not None
    assert inside.auth.token == "env:ARTIFACTORY_TOKEN"


def test_corporate_proxy_config_reaches_every_public_mirror_through_the_proxy(site):
    found = loader.load(config_file=site / "corporate-proxy.toml", environ={})
    for mirror in found.mirrors:
        route = found.route(mirror, mirror.url)
        assert route.proxy == "http://proxy.corp.example:3128"
        assert route.ca_bundle == site / "corp-ca.pem"
