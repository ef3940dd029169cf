"""Where a file that TFDS pins is asked for, with which settings, and under which name."""

from __future__ import annotations

import contextlib

import pytest
import tensorflow_datasets as tfds
from made_up import made_up_dataset_builder as made_up
from tensorflow_datasets.core.download import checksums

import fmnist_tfds
from fmnist_tfds import artifacts, errors
from fmnist_tfds.any_dataset import active, plan, tfds_pins

URL = "https://publisher.example/v1/train.tar.gz"
FILE = artifacts.Artifact(name="train.tar.gz", size_bytes=10, sha256="ab" * 32, url=URL)


def info(filename="train.tar.gz", *, checksum="ab" * 32):
    return checksums.UrlInfo(size=tfds.core.utils.Size(10), checksum=checksum, filename=filename)


def asked(made, file=FILE):
    return [mirror.url_for(file) for mirror in made.sources(file).mirrors]


def test_certificates_are_verified_unless_tfds_is_told_otherwise_and_then_of_the_original_alone():
    made = plan.make(mirrors="https://m.example/,default")
    assert [mirror.insecure_tls for mirror in made.sources(FILE).mirrors] == [False] * 3
    told = made.sources(FILE, verify_tls=False).mirrors
    assert [mirror.insecure_tls for mirror in told] == [False, False, True]


@pytest.mark.parametrize("verify", [True, False])
def test_verify_ssl_of_tfds_is_what_the_plan_is_told(verify, tmp_path, monkeypatch):
    told = []

    def obtain(self, artifact, *, verify_tls, **rest):
        told.append(verify_tls)
        raise ZeroDivisionError

    monkeypatch.setattr(plan.Plan, "obtain", obtain)
    builder = made_up.Builder(data_dir=tmp_path)
    config = tfds.download.DownloadConfig(verify_ssl=verify)
    with fmnist_tfds.resilient(mirrors="off"), contextlib.suppress(ZeroDivisionError):
        builder.download_and_prepare(download_config=config)
    assert set(told) == {verify}


def test_what_a_mirror_asks_for_behind_its_path_is_kept_in_both_addresses():
    made = plan.make(mirrors="https://m.example/tfds/?signature=1")
    assert asked(made) == [
        f"https://m.example/tfds/by-hash/sha256/{FILE.sha256}?signature=1",
        "https://m.example/tfds/train.tar.gz?signature=1",
    ]


def test_store_that_names_files_by_a_digest_that_nobody_knows_is_not_asked():
    made = plan.make(mirrors="https://m.example/{md5},https://n.example/{sha256}")
    assert asked(made) == [f"https://n.example/{FILE.sha256}"]


def test_original_address_is_rewritten_and_takes_the_settings_of_the_mirror_it_leads_to(tmp_path):
    path = tmp_path / "fmnist.toml"
    path.write_text(
        "[[mirrors]]\nname = 'store'\nurl = 'https://store.example/'\nuser_agent = 'us'\n"
        "[[rewrites]]\nfrom = 'https://publisher.example/'\nto = ['https://store.example/p/']\n"
    )
    made = plan.make(mirrors="default", config_file=path)
    (mirror,) = made.sources(FILE).mirrors
    assert mirror.url_for(FILE) == "https://store.example/p/v1/train.tar.gz"
    assert mirror.user_agent == "us"


@pytest.mark.parametrize(
    ("recorded", "url", "name"),
    [
        ("train.tar.gz", "https://h.example/download?id=7", "train.tar.gz"),
        ("../../etc/train.tar.gz", URL, "train.tar.gz"),
        (None, "https://h.example/v1/images.zip?x=/y", "images.zip"),
        (None, "https://h.example/", "download"),
    ],
)
def test_name_of_a_file_is_the_recorded_one_or_the_urls_and_never_a_path(recorded, url, name):
    assert plan.artifact_of(url, info(recorded)).name == name


def test_one_file_at_two_addresses_is_one_file():
    found = plan.artifact_set("one", {URL: info(), "https://h.example/train.tar.gz": info()})
    assert [file.name for file in found.files] == ["train.tar.gz"]


def test_url_of_which_tfds_pins_no_digest_is_no_artifact():
    assert plan.artifact_of(URL, None) is None
    assert plan.artifact_of(URL, info(checksum=None)) is None


def test_every_argument_of_resilient_is_a_setting_of_the_plan(tmp_path):
    (tmp_path / "fmnist.toml").write_text("[network]\nattempts = 7\n")
    manual = tmp_path / "manual"
    manual.mkdir()
    with fmnist_tfds.resilient(
        mirrors="https://m.example/",
        config_file=tmp_path / "fmnist.toml",
        manual_dir=manual,
        cache_dir=tmp_path / "cache",
        deadline_s=77,
        offline=True,
    ) as made:
        options = made.options
    assert [mirror.url for mirror in options.mirrors] == ["https://m.example/"]
    assert (options.network.attempts, options.network.deadline_s) == (7, 77)
    assert (options.manual_dir, options.cache_dir) == (manual, tmp_path / "cache")
    assert options.offline


def test_leaving_one_of_two_equal_blocks_leaves_the_other():
    with fmnist_tfds.resilient(mirrors="off") as outer:
        with fmnist_tfds.resilient(mirrors="off") as inner:
            assert inner == outer
        assert active.current() is outer
    assert active.current() is None


def test_data_set_whose_module_needs_a_package_is_one_error(monkeypatch):
    def builder_cls(name):
        raise ImportError("no gcld3", name="gcld3")

    monkeypatch.setattr(tfds, "builder_cls", builder_cls)
    with pytest.raises(errors.ConfigError, match="needs a package that is not installed: gcld3"):
        tfds_pins.artifact_set("c4")


def test_doctor_is_given_each_host_once_with_a_few_of_its_smallest_files():
    files = {
        f"https://{host}.example/{i}": checksums.UrlInfo(
            size=tfds.core.utils.Size(1000 - i), checksum=f"{host}{i:063d}", filename=f"{host}{i}"
        )
        for host in "ab"
        for i in range(9)
    }
    files |= {"https://drive.google.com/uc?id=1": info()}
    wanted = plan.artifact_set("many", files)
    options, few = plan.make(mirrors="https://m.example/,default").examined(wanted)
    assert [mirror.url for mirror in options.mirrors] == [
        "https://m.example/by-hash/sha256/{sha256}",
        "https://m.example/",
        "https://a.example/",
        "https://b.example/",
    ]
    names = {file.name for file in few.files}
    assert names == {f"{host}{i}" for host in "ab" for i in (5, 6, 7, 8)} | {"train.tar.gz"}
    *_, original = options.mirrors
    lacking = {file.name[0] for file in few.files if original.lacks(file)}
    assert lacking == {"a", "t"}
