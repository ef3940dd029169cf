"""`resilient`: any TFDS data set downloads through mirrors, proved; TFDS is left as it was."""

from __future__ import annotations

import contextlib
import errno
import json
import pathlib
import pickle
import threading

import pytest
import receipt_schema
import tensorflow_datasets as tfds
from made_up import made_up_dataset_builder as made_up
from tensorflow_datasets.core import download
from tensorflow_datasets.core.download import checksums, download_manager, downloader

import fmnist_tfds
from fmnist_tfds import artifacts, errors
from fmnist_tfds.any_dataset import active, plan

pytestmark = pytest.mark.versions


@pytest.fixture
def mirror(tmp_path):
    return made_up.write_mirror(tmp_path / "mirror")


def _prepare(tmp_path, **config):
    builder = made_up.Builder(data_dir=tmp_path / "data", file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**config))
    return builder


def _is_stock():
    return download.DownloadManager is download_manager.DownloadManager


def test_data_set_is_prepared_from_a_mirror_of_digests(tmp_path, mirror, loopback):
    served = loopback(mirror)
    with fmnist_tfds.resilient(mirrors=served.url):
        builder = _prepare(tmp_path)
    assert made_up.numbers(builder, "train") == list(range(made_up.COUNT))
    assert made_up.numbers(builder, "test") == sorted(-i for i in range(made_up.COUNT))
    assert len(served.requests) == 4
    assert all("/by-hash/sha256/" in path for path in served.requests)


def test_mirror_by_names_serves_what_names_tell_apart(tmp_path, mirror, loopback):
    named = tmp_path / "named"
    named.mkdir()
    for url, body in made_up.BODIES.items():
        (named / url.rpartition("/")[2].partition("?")[0]).write_bytes(body)
    served = loopback(named)
    with fmnist_tfds.resilient(mirrors=[served.url, str(mirror)]):
        builder = _prepare(tmp_path)
    # One of the two files that are called extra.bin is wrong there: the next mirror has it.
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT


def test_receipt_beside_the_downloads_says_where_every_file_came_from(tmp_path, mirror):
    with fmnist_tfds.resilient(mirrors=str(mirror)):
        _prepare(tmp_path)
    (path,) = (tmp_path / "data").rglob("receipt.json")
    receipt = json.loads(path.read_text())
    receipt_schema.check(receipt)
    assert receipt["dataset"] == "made_up"
    assert receipt["files"].keys() == made_up.BODIES.keys()
    for url, entry in receipt["files"].items():
        assert entry["sha256"] == made_up.Builder.url_infos[url].checksum
        assert entry["source"].startswith("file://")


def test_second_data_dir_is_served_from_the_cache(tmp_path, mirror):
    with fmnist_tfds.resilient(mirrors=str(mirror)):
        _prepare(tmp_path / "one")
    with fmnist_tfds.resilient(mirrors="off"):
        builder = _prepare(tmp_path / "two")
    assert len(made_up.numbers(builder, "test")) == made_up.COUNT


def test_manual_dir_is_taken_by_digest(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    for number, body in enumerate(made_up.BODIES.values()):
        (manual / f"download ({number})").write_bytes(body)
    with fmnist_tfds.resilient(mirrors="off"):
        builder = _prepare(tmp_path, manual_dir=manual)
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT


def test_own_manual_dir_is_taken_by_digest_too(tmp_path, monkeypatch):
    for number, body in enumerate(made_up.BODIES.values()):
        (tmp_path / f"download ({number})").write_bytes(body)
    monkeypatch.setenv("FMNIST_TFDS_MANUAL_DIR", str(tmp_path))
    with fmnist_tfds.resilient(mirrors="off"):
        builder = _prepare(tmp_path / "data")
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT


def test_what_no_source_has_is_our_error_with_its_cause(tmp_path, loopback):
    served = loopback(tmp_path)
    with (
        fmnist_tfds.resilient(mirrors=served.url, deadline_s=5),
        pytest.raises(errors.ObtainError, match="not-found"),
    ):
        _prepare(tmp_path)


def test_wrong_bytes_of_a_mirror_never_reach_tfds(tmp_path, mirror):
    for path in mirror.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    with (
        fmnist_tfds.resilient(mirrors=str(mirror)),
        pytest.raises(errors.ObtainError, match="checksum-mismatch"),
    ):
        _prepare(tmp_path)
    assert not list((tmp_path / "data").rglob("*.INFO"))


@pytest.fixture
def without_checksum(monkeypatch):
    """TFDS pins nothing for one URL. (It remembers, for the process, what it once had pinned.)"""
    infos = {u: i for u, i in made_up.Builder.url_infos.items() if "test.zip" not in u}
    monkeypatch.setattr(made_up.Builder, "url_infos", infos)
    monkeypatch.setattr(checksums, "get_all_url_infos", dict)


def test_url_without_a_checksum_goes_to_tfds_and_is_said(
    tmp_path, mirror, monkeypatch, caplog, without_checksum
):
    seen = []

    def stock(self, url, destination_path, verify=True):
        seen.append(url)
        raise RuntimeError("TFDS itself")

    monkeypatch.setattr(downloader._Downloader, "_sync_download", stock)
    with (
        fmnist_tfds.resilient(mirrors=[str(mirror), "default"]),
        pytest.raises(RuntimeError, match="TFDS itself"),
    ):
        _prepare(tmp_path)
    assert seen == [f"{made_up.HOST}/v1/test.zip"]
    assert "left to TFDS itself: TFDS pins no checksum" in caplog.text


def test_url_without_a_checksum_is_refused_offline(tmp_path, mirror, without_checksum):
    with (
        fmnist_tfds.resilient(mirrors=str(mirror), offline=True),
        pytest.raises(errors.ObtainError, match="no checksum for it, and the network is switched"),
    ):
        _prepare(tmp_path)


def test_pinned_url_of_another_scheme_goes_to_tfds_where_no_mirror_has_it(
    tmp_path, monkeypatch, caplog
):
    bucket = "gs://bucket/test.zip"
    pinned = made_up.Builder.url_infos[f"{made_up.HOST}/v1/test.zip"]
    stock = checksums.UrlInfo(pinned.size, pinned.checksum, pinned.filename)

    def fetched(self, url, destination_path, verify=True):
        (pathlib.Path(destination_path) / "test.zip").write_bytes(b"by TFDS")
        return downloader.DownloadResult(destination_path / "test.zip", stock)

    monkeypatch.setattr(downloader._Downloader, "_sync_download", fetched)
    monkeypatch.setattr(made_up.Builder, "url_infos", {bucket: stock})
    with fmnist_tfds.resilient(mirrors="default"):
        manager = made_up.Builder(data_dir=tmp_path)._make_download_manager(
            download_dir=tmp_path / "downloads", download_config=tfds.download.DownloadConfig()
        )
        assert manager.download(bucket).read_bytes() == b"by TFDS"
    assert "left to TFDS itself: no mirror has it" in caplog.text


def test_receipt_that_cannot_be_written_costs_no_data(tmp_path, mirror, caplog):
    (tmp_path / "data" / "downloads" / "made_up" / "receipt.json").mkdir(parents=True)
    with fmnist_tfds.resilient(mirrors=str(mirror)):
        builder = _prepare(tmp_path)
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT
    assert "receipt.json: cannot be written" in caplog.text


def test_disk_without_hard_links_is_given_copies(tmp_path, mirror, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(pathlib.Path, "hardlink_to", refuse)
    with fmnist_tfds.resilient(mirrors=str(mirror)):
        builder = _prepare(tmp_path)
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT


def test_original_address_is_the_last_mirror_only_where_the_list_says_so(mirror):
    url = next(iter(made_up.BODIES))
    artifact = plan.artifact_of(url, made_up.Builder.url_infos[url])

    def asked(**more):
        mirrors = plan.make(**more).sources(artifact).mirrors
        return [m.url_for(artifact) for m in mirrors]

    by_hash = f"https://m.example/by-hash/sha256/{artifact.sha256}"
    listed = [by_hash, f"https://m.example/{artifact.name}"]
    assert asked(mirrors="https://m.example/") == listed
    assert asked(mirrors="https://m.example/,default") == [*listed, url]
    assert asked(mirrors="default") == [url]
    assert asked(mirrors="off") == []


def test_google_drive_and_other_schemes_are_left_to_tfds():
    by_default = plan.make(mirrors="default")
    for url in ("https://drive.google.com/uc?id=1", "gs://bucket/file", "ftp://host/file"):
        assert by_default.leaves_to_tfds(url)
    assert not by_default.leaves_to_tfds("https://host/file")
    assert not plan.make(mirrors="off").leaves_to_tfds("gs://bucket/file")
    assert not plan.make(mirrors="https://m.example/").leaves_to_tfds("gs://bucket/file")


def test_large_file_has_the_time_that_it_needs_unless_a_deadline_is_set():
    small, large = (
        artifacts.Artifact(name="a", size_bytes=size, sha256="0", url="https://h/a")
        for size in (0, 10**9)
    )

    def seconds(artifact, **more):
        made = plan.make(mirrors="default", **more)
        return made.sources(artifact).network.deadline_s

    assert seconds(small) == 600
    assert seconds(large) == 600 + 10_000
    assert seconds(large, deadline_s=60) == 60


def test_leaving_restores_tfds_also_after_an_exception():
    assert _is_stock()
    with contextlib.suppress(ZeroDivisionError), fmnist_tfds.resilient(mirrors="off"):
        assert not _is_stock()
        raise ZeroDivisionError
    assert _is_stock()
    assert active.current() is None


def test_blocks_nest_and_the_innermost_holds():
    with fmnist_tfds.resilient(mirrors="https://outer.example/") as outer:
        with fmnist_tfds.resilient(mirrors="https://inner.example/") as inner:
            assert active.current() is inner
        assert active.current() is outer
        assert not _is_stock()
    assert _is_stock()


def test_each_thread_has_its_own_block_and_others_see_the_last_one():
    entered, leave = threading.Barrier(3), threading.Event()
    seen = {}

    def inside(name):
        with fmnist_tfds.resilient(mirrors=f"https://{name}.example/") as made:
            entered.wait(60)
            seen[name] = active.current() is made
            leave.wait(60)

    threads = [threading.Thread(target=inside, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    entered.wait(60)
    assert active.current() is not None
    leave.set()
    for thread in threads:
        thread.join()
    assert seen == {"one": True, "two": True}
    assert _is_stock()


def test_manager_survives_pickling_as_beam_does_it(tmp_path, mirror):
    with fmnist_tfds.resilient(mirrors=str(mirror)):
        builder = made_up.Builder(data_dir=tmp_path)
        manager = builder._make_download_manager(
            download_dir=tmp_path / "downloads", download_config=tfds.download.DownloadConfig()
        )
        manager.download(f"{made_up.HOST}/v1/test.zip")
        copy = pickle.loads(pickle.dumps(manager))
    # In a worker, which never entered the block.
    path = copy.download(f"{made_up.HOST}/v1/train.tar.gz")
    assert path.read_bytes() == made_up.BODIES[f"{made_up.HOST}/v1/train.tar.gz"]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (download_manager.DownloadManager, "_downloader"),
        (downloader._Downloader, "_sync_download"),
    ],
)
def test_tfds_in_which_the_seam_has_moved_is_refused_whole(monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, lambda self: None)
    with (
        pytest.raises(errors.ConfigError, match=f"{name} has moved; nothing was changed"),
        fmnist_tfds.resilient(mirrors="off"),
    ):
        raise AssertionError("half patched")
    assert _is_stock()
    assert active.current() is None


def test_wrong_setting_is_an_error_before_anything_is_patched():
    with pytest.raises(errors.ConfigError), contextlib.ExitStack() as stack:
        stack.enter_context(fmnist_tfds.resilient(mirrors="no such name"))
    assert _is_stock()


def test_artifacts_of_a_data_set_have_names_of_their_own():
    found = plan.artifact_set("made_up", made_up.Builder.url_infos)
    names = [file.name for file in found.files]
    assert len(set(names)) == 4
    assert "train.tar.gz" in names
    assert sum(name.endswith("extra.bin") for name in names) == 2


def test_data_set_without_pinned_downloads_is_refused():
    with pytest.raises(errors.ConfigError, match="pins no download of 'manual_one'"):
        plan.artifact_set("manual_one", {})
