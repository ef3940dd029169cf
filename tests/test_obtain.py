"""obtain: the ladder, its error, its JSON; no socket where none is needed."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "download"))
import family

from fmnist_tfds import errors, obtain
from fmnist_tfds.config import settings
from fmnist_tfds.download import failure_message, results
from fmnist_tfds.download.diagnosis import causes

DATASET, BODIES = family.make()
# No test here is about time: none may fail because this process was held up.
pytestmark = pytest.mark.versions
NETWORK = settings.Network(connect_timeout_s=60.0, read_timeout_s=60.0, backoff_s=0.02)


@pytest.fixture
def no_network(monkeypatch):
    """Any connection or look-up fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def _options(tmp_path, *mirrors, **changes):
    return settings.Settings(
        tuple(settings.Mirror(url) for url in mirrors), tmp_path / "cache", NETWORK, **changes
    )


def _manual(folder, names=tuple(BODIES), suffix=""):
    folder.mkdir(parents=True)
    for name in names:
        (folder / (name + suffix)).write_bytes(BODIES[name])
    return folder


@pytest.mark.parametrize("layout", ["", "nested", "FashionMNIST/raw", "datasets/fashion-mnist"])
def test_a_complete_manual_dir_needs_no_socket_and_is_used_in_place(tmp_path, no_network, layout):
    folder = _manual(tmp_path / "manual" / layout)
    options = _options(tmp_path, "http://mirror.example/", manual_dir=tmp_path / "manual")
    outcome = obtain.obtain(options, dataset=DATASET)
    assert outcome.error is None
    assert {f.path.parent for f in outcome.files.values()} == {folder}
    sources = {name: entry["source"] for name, entry in outcome.receipt["files"].items()}
    assert sources == {name: str(folder / name) for name in BODIES}


def test_a_decompressed_manual_dir_serves(tmp_path, no_network):
    folder = tmp_path / "manual"
    folder.mkdir()
    for name, body in BODIES.items():
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(body))
    outcome = obtain.obtain(_options(tmp_path, manual_dir=folder, offline=True), dataset=DATASET)
    assert outcome.error is None
    for name, file in outcome.files.items():
        assert gzip.decompress(file.path.read_bytes()) == gzip.decompress(BODIES[name])


def test_a_complete_manual_dir_works_where_the_cache_cannot_be_written(tmp_path, no_network):
    (tmp_path / "cache").write_text("no folder")
    options = _options(tmp_path, manual_dir=_manual(tmp_path / "manual"))
    assert obtain.obtain(options, dataset=DATASET).error is None


def test_a_half_filled_manual_dir_is_completed_from_the_mirrors(tmp_path):
    folder = _manual(tmp_path / "manual", list(BODIES)[:2])
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, mirror.url, manual_dir=folder)
        outcome = obtain.obtain(options, dataset=DATASET)
    assert outcome.error is None
    assert sorted(mirror.names()) == sorted(list(BODIES)[2:])
    third = list(BODIES)[2]
    assert outcome.files[third].attempts[0].cause == "not-found"
    receipt = outcome.receipt["files"]
    assert [a["cause"] for a in receipt[third]["failed_attempts"]] == ["not-found"]
    for name in BODIES:
        assert {"source", "time", "gz_sha256", "payload_sha256"} <= receipt[name].keys()


def test_folder_of_other_files_is_told_by_the_first_five_and_how_many_more(tmp_path, no_network):
    folder = tmp_path / "manual"
    folder.mkdir()
    for number in range(7):
        (folder / f"holiday-{number}.jpg").write_bytes(b"x")
    (folder / next(iter(BODIES))).write_bytes(b"<!doctype html><title>Blocked</title>")
    options = _options(tmp_path, "http://mirror.example/", manual_dir=folder, offline=True)
    text = str(obtain.obtain(options, dataset=DATASET).error)
    shown = ", ".join(f"holiday-{number}.jpg" for number in range(5))
    assert f"found {shown} and 3 more" in text


def test_offline_names_per_file_what_was_expected_and_found(tmp_path, no_network):
    names = list(BODIES)
    folder = tmp_path / "manual"
    folder.mkdir()
    (folder / names[0]).write_bytes(BODIES[names[1]])
    (folder / names[1]).write_bytes(b"<!doctype html><title>Blocked</title>")
    options = _options(tmp_path, "http://mirror.example/", manual_dir=folder, offline=True)
    outcome = obtain.obtain(options, dataset=DATASET)
    text = str(outcome.error)
    assert isinstance(outcome.error, errors.ObtainError)
    assert "where train images belong" in text
    assert "'Blocked'" in text
    both = ", ".join(f"{n} ({len(BODIES[n]):,} bytes)" for n in names[2:])
    assert f"could not obtain {both}: " in text
    assert f"expected under its name, with or without .gz; found {names[0]}, {names[1]}" in text
    assert "offline" in text
    document = outcome.as_json()
    assert document["ok"] is False
    assert set(document["files"]) == set(BODIES)
    assert document["files"][names[3]]["path"] is None
    told = {"message": outcome.error.message, "hint": outcome.error.hint}
    assert document["error"] == {"reference": "obtain", **told}
    assert results.Result({}, seconds=1.23456).as_json()["seconds"] == 1.235


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, "there is no such folder"),
        ({}, "the folder is empty"),
        ({"data.csv": b"label,pixel1\n1,2\n"}, "data.csv: expected 785 columns"),
        (b"PK\x03\x04 no archive", "not a readable zip file"),
    ],
)
def test_offline_says_once_what_is_wrong_with_manual_dir(tmp_path, no_network, held, said):
    place = tmp_path / "manual"
    if isinstance(held, bytes):
        place.write_bytes(held)
    elif held is not None:
        place.mkdir()
        for name, content in held.items():
            (place / name).write_bytes(content)
    options = _options(tmp_path, manual_dir=place, offline=True)
    text = str(obtain.obtain(options, dataset=DATASET).error)
    assert text.count("could not obtain") == 1
    assert text.count(str(place)) == 1
    assert said in text
    assert "Not a directory" not in text
    # What was there was examined: the hint says which forms are taken.
    assert ("hint: these forms are taken: " in text) is bool(held)


def test_the_error_lists_sources_once_whatever_order_they_failed_in():
    first, second = (
        results.Attempt(f"http://{host}/", "failed", "dns-failure", evidence="no address")
        for host in "ab"
    )
    images, labels = DATASET.files[:2]
    tried = {images.name: [first, second], labels.name: [second, first]}
    error = failure_message.obtain_error((images, labels), tried, is_offline=False)
    assert error.message.count("http://a/") == 1


def test_the_error_lists_every_source_in_one_table(tmp_path, closed_port):
    with family.Mirror({}) as empty:
        dead = f"http://127.0.0.1:{closed_port}/"
        outcome = obtain.obtain(_options(tmp_path, dead, empty.url), dataset=DATASET)
    text = str(outcome.error)
    assert text.startswith("could not obtain train-images-idx3-ubyte.gz")
    assert text.count("connect-refused") == 1
    assert text.count("not-found") == 1
    assert "hint: " in text


def _told(*attempts):
    """The error of one file that failed so."""
    file = DATASET.files[0]
    return failure_message.obtain_error([file], {file.name: attempts}, is_offline=False)


def test_the_deadline_does_not_hide_what_a_mirror_failed_of_before():
    url = "http://a.example/"
    late = results.Attempt(url, "failed", "deadline")
    before = results.Attempt(url, "failed", "forbidden", evidence="403 from a.example")
    (row,) = _told(before, late).message.splitlines()[1:]
    assert row.split() == [url, "forbidden", "403", "from", "a.example", "2", "attempts"]


def test_the_hint_is_what_helps_most_sources():
    once, often = (
        results.failed(f"http://{host}.example/", causes.named("forbidden", remedy=remedy), remedy)
        for host, remedy in (("a", "rare"), ("b", "common"))
    )
    again = dataclasses.replace(often, url="http://c.example/")
    assert _told(once, often, again).hint.startswith("common; ")


def test_evidence_of_a_page_leaves_the_table_readable():
    row = _told(results.Attempt("http://a.example/", "failed", "forbidden", evidence="x" * 300))
    assert "x" * 160 in row.message
    assert "x" * 161 not in row.message


def test_a_template_is_told_as_it_was_written_once_for_all_files(tmp_path, closed_port):
    url = f"http://127.0.0.1:{closed_port}/{{sha256}}/"
    text = str(obtain.obtain(_options(tmp_path, f"{url}{{filename}}"), dataset=DATASET).error)
    assert text.count("connect-refused") == 1
    assert f"{url}  connect-refused" in text


def test_files_that_failed_alike_share_one_table_in_whatever_order_they_asked():
    dead, empty = (
        results.Attempt(f"http://{host}.example/", "failed", cause)
        for host, cause in (("a", "connect-refused"), ("b", "not-found"))
    )
    attempts = {name: [dead, empty] for name in BODIES} | {list(BODIES)[2]: [empty, dead, dead]}
    text = str(failure_message.obtain_error(DATASET.files, attempts, is_offline=False).message)
    first, *rows = text.splitlines()
    assert all(name in first for name in BODIES)
    assert [row.split()[1] for row in rows] == ["connect-refused", "not-found"]
    assert rows[0].endswith("2 attempts")


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("http://a b:x", "white space"),
        ("http://proxy.corp:port", "its port is no number"),
        ("proxy.corp:3128:99", "its port is no number"),
        ("http://[proxy", "is no host"),
        ("http://ann:hun/ter2@proxy.corp:3128", "written %2F"),
    ],
)
def test_a_proxy_that_is_no_url_is_named_with_its_variable_and_the_remedy(
    tmp_path, no_network, proxy, problem
):
    environment = settings.Environment(proxies={"http": proxy})
    options = _options(tmp_path, "http://mirror.example/", environment=environment)
    text = str(obtain.obtain(options, dataset=DATASET).error)
    assert "HTTP_PROXY holds no proxy URL" in text
    assert problem in text
    assert "hint: correct HTTP_PROXY: a proxy is written http://" in text
    assert text.count("could not obtain") == 1
    assert "hun" not in text


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "there is no such file"), ("words", "holds no PEM certificate")]
)
def test_a_ca_file_that_is_none_is_named_with_the_remedy(tmp_path, no_network, content, problem):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    environment = settings.Environment(ca_bundle=bundle)
    options = _options(tmp_path, "https://mirror.example/", environment=environment)
    text = str(obtain.obtain(options, dataset=DATASET).error)
    assert f"tls-untrusted  the CA file {bundle}: " in text
    assert problem in text
    assert "hint: correct ca_bundle, or REQUESTS_CA_BUNDLE" in text


def test_a_client_certificate_that_is_none_is_named_with_the_remedy(tmp_path, no_network):
    (tmp_path / "me.pem").write_text("words")
    options = _options(tmp_path)
    mirror = settings.Mirror("https://mirror.example/", client_cert=tmp_path / "me.pem")
    options = dataclasses.replace(options, mirrors=(mirror,))
    text = str(obtain.obtain(options, dataset=DATASET).error)
    assert "me.pem: it holds no PEM certificate" in text
    assert "hint: correct client_cert" in text


def test_a_proxy_that_is_no_url_does_not_keep_another_mirror_from_serving(tmp_path):
    environment = settings.Environment(proxies={"http": "http://proxy.corp:port"})
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, "http://mirror.example/", environment=environment)
        direct = settings.Mirror(mirror.url, proxy="")
        options = dataclasses.replace(options, mirrors=(*options.mirrors, direct))
        assert obtain.obtain(options, dataset=DATASET).error is None


def test_out_holds_the_four_files_and_the_receipt(tmp_path):
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, mirror.url)
        outcome = obtain.obtain(options, dataset=DATASET, out=tmp_path / "out")
    assert outcome.error is None
    for name, body in BODIES.items():
        assert (tmp_path / "out" / name).read_bytes() == body
    assert (tmp_path / "out" / "receipt.json").is_file()


def test_a_damaged_cache_entry_is_fetched_anew(tmp_path):
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, mirror.url)
        path = next(iter(obtain.obtain(options, dataset=DATASET).files.values())).path
        path.write_bytes(b"x" * 1000)
        outcome = obtain.obtain(options, dataset=DATASET)
    assert outcome.error is None
    assert path.read_bytes() == BODIES[path.name]


def test_obtain_files_gives_paths_or_raises(tmp_path, no_network):
    folder = _manual(tmp_path / "manual")
    paths = obtain.obtain_files(
        mirrors="off", manual_dir=folder, cache_dir=tmp_path / "c", dataset=DATASET
    )
    assert set(paths) == set(BODIES)
    # What was proved is in the cache from then on.
    again = obtain.obtain_files(mirrors="off", cache_dir=tmp_path / "c", dataset=DATASET)
    assert set(again) == set(BODIES)
    with pytest.raises(errors.ObtainError, match="switched off"):
        obtain.obtain_files(mirrors="off", cache_dir=tmp_path / "other", dataset=DATASET)


def test_insecure_tls_is_warned_about(tmp_path, closed_port):
    notes = []

    class Notes:
        update = done = staticmethod(lambda *args: None)
        note = staticmethod(notes.append)

    mirror = settings.Mirror(f"https://127.0.0.1:{closed_port}/", insecure_tls=True)
    options = dataclasses.replace(_options(tmp_path), mirrors=(mirror,))
    obtain.obtain(options, dataset=DATASET, progress=Notes())
    assert "insecure_tls" in notes[0]


def test_sources_that_all_failed_alike_are_led_by_one_sentence(tmp_path, closed_port):
    alike = _options(tmp_path, *(f"http://127.0.0.1:{closed_port}/{i}/" for i in range(3)))
    first = str(obtain.obtain(alike, dataset=DATASET).error).splitlines()[0]
    assert "3 of 3 sources failed, all alike: " in first
    assert causes.CAUSES["connect-refused"].meaning in first
    with family.Mirror({}) as empty:
        mixed = _options(tmp_path, f"http://127.0.0.1:{closed_port}/", empty.url)
        first = str(obtain.obtain(mixed, dataset=DATASET).error).splitlines()[0]
    assert "2 of 2 sources failed" in first
    assert "alike" not in first


@pytest.mark.parametrize("below", [".", "deep/er"])
def test_cache_that_is_a_link_to_nowhere_is_named(tmp_path, below):
    (tmp_path / "link").symlink_to(tmp_path / "not mounted")
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, mirror.url)
        options = dataclasses.replace(options, cache_dir=tmp_path / "link" / below)
        error = obtain.obtain(options, dataset=DATASET).error
    said = f"{tmp_path / 'link'} is a link to {tmp_path / 'not mounted'}, where there is nothing"
    assert said in str(error)
