"""What one source is found to be: odd but usable, or not usable and why, with nothing secret."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.doctor import on_disk, page
from fmnist_tfds.doctor import report as doctor

BIG = "train-images-idx3-ubyte.gz"
SMALL = "t10k-labels-idx1-ubyte.gz"


def _partly(request, reply, *, total=None):
    """As a server that honours Range; `total` is the size that it tells."""
    if "range" not in request.headers:
        return reply.file(request)
    size = total or len(reply.body)
    start = {"Content-Range": f"bytes 0-511/{size}"}
    return reply.whole("206 Partial Content", reply.body[:512], start)


@pytest.fixture
def scripted(lab):
    """The mirror that answers as a function says."""

    def make(script, **options):
        lab.server.scripts["doctor-scripted"] = script
        return lab.fault("doctor-scripted", **options)

    return make


def _without_ranges(request, reply):
    # The last file alone comes in parts: one file that cannot be resumed is enough.
    (reply.file if request.name == BIG else lambda r: _partly(r, reply))(request)


@pytest.mark.parametrize(
    ("script", "note"),
    [
        (_partly, ""),
        (_without_ranges, "no ranges: a broken download starts again"),
        (lambda q, r: _partly(q, r, total=len(r.body) + 7), "bytes there, not"),
        ("decompressed", "is decompressed there"),
    ],
)
def test_odd_but_usable_source_is_used_and_the_oddity_told(script, note, examine, lab, scripted):
    mirror = lab.fault(script) if isinstance(script, str) else scripted(script)
    report = examine(mirror)
    assert report.ok
    notes = report.sources[0].notes
    assert any(note in each for each in notes) if note else notes == ()
    assert all(each in page.page(report) for each in notes)


def test_file_that_was_compressed_anew_is_used_and_said_to_be(examine, lab, scripted):
    dated = [dataclasses.replace(file, gzip_mtime=1) for file in lab.dataset.files]
    report = examine(
        scripted(_partly), dataset=dataclasses.replace(lab.dataset, files=tuple(dated))
    )
    assert report.ok
    assert f"{BIG} is re-compressed there" in report.sources[0].notes


def _instead(name, *answer):
    """Serves all files but `name`, in whose place something else comes."""

    def script(request, reply):
        reply.whole(*answer) if request.name == name else _partly(request, reply)

    return script


@pytest.mark.parametrize(
    ("answer", "cause", "seen"),
    [
        (("200 OK", b"<!DOCTYPE html><title>Hi</title>"), "wrong-content", "a web page came"),
        (("200 OK", b""), "truncated", "gzip starts with 1f 8b"),
        (("200 OK", b"\x89PNG"), "wrong-content", "gzip starts with 1f 8b"),
        (("404 Not Found", b""), "not-found", "404 from 127.0.0.1"),
    ],
)
def test_file_of_which_the_first_bytes_are_wrong_is_named(answer, cause, seen, examine, scripted):
    report = examine(scripted(_instead(BIG, *answer)))
    (source,) = report.sources
    assert not report.ok
    assert (source.cause, len(source.serves)) == (cause, 3)
    assert BIG not in source.serves
    assert source.evidence.startswith(f"{BIG}")
    assert seen in source.evidence


def test_genuine_file_under_the_name_of_another_is_wrong_content(examine, lab, scripted):
    other = lab.files["train-labels-idx1-ubyte.gz"]
    (source,) = examine(scripted(_instead(SMALL, "200 OK", other))).sources
    assert source.cause == "wrong-content"
    assert SMALL not in source.serves


def test_of_large_files_only_the_first_bytes_are_requested(examine, lab, scripted):
    large = [dataclasses.replace(file, size_bytes=9 << 20) for file in lab.dataset.files]
    mirror = scripted(_partly)
    dataset = dataclasses.replace(lab.dataset, files=tuple(large))
    (source,) = examine(mirror, dataset=dataset).sources
    assert len(source.serves) == 4
    assert {request.headers.get("range") for request in lab.asked(mirror)} == {"bytes=0-511"}


def test_source_that_is_not_verified_by_tls_says_so(examine, lab, needs):
    needs("openssl")
    url = lab.tls_server("self-signed").base("ok")
    (source,) = examine(settings.Mirror(url=url, insecure_tls=True)).sources
    assert source.cause == ""
    assert "the certificate was not verified (insecure_tls)" in source.notes


def test_client_certificate_of_a_mirror_is_presented(examine, lab, needs):
    needs("openssl")
    mirror = settings.Mirror(
        url=lab.tls_server("wants-a-client-certificate").base("ok"),
        ca_bundle=lab.authority.certificate,
        client_cert=lab.client_certificate,
    )
    assert examine(mirror).ok


def test_proxy_is_known_by_what_it_calls_itself(examine, lab):
    lab.server.scripts["doctor-via"] = lambda request, reply: reply.whole(
        "200 OK", reply.body, {"Via": "1.1 house-proxy"}
    )
    proxy = f"http://127.0.0.1:{lab.server.port}"
    mirror = settings.Mirror(url="http://mirror.example.org/doctor-via/")
    report = examine(mirror, proxies={"http": proxy})
    (source,) = report.sources
    assert (source.proxy_answered, source.proxy_origin) == ("1.1 house-proxy", "HTTP_PROXY")
    assert source.proxy == proxy.removeprefix("http://")
    assert f"{source.proxy}, 1.1 house-proxy (from HTTP_PROXY)" in page.page(report)


def test_failure_behind_a_redirect_says_where_it_led_and_shows_no_secret(examine, lab, scripted):
    away = lab.second.base("404", host="localhost")

    def redirect(request, reply):
        reply.whole("302 Found", b"", {"Location": f"{away}{request.name}?sig=s3cret"})

    report = examine(scripted(redirect))
    evidence = report.sources[0].evidence
    assert f"after a redirect to {away}{SMALL}?***" in evidence
    assert "s3cret" not in json.dumps(report.as_json()) + page.page(report) + report.allowlist


def test_query_of_a_mirror_is_shown_nowhere(examine, lab):
    mirror = lab.fault("404")
    report = examine(dataclasses.replace(mirror, url=f"{mirror.url}?sig=s3cret"))
    assert lab.asked(mirror)
    assert "s3cret" not in json.dumps(report.as_json()) + page.page(report) + report.allowlist


def test_address_that_cannot_work_comes_with_the_one_that_can(examine):
    (source,) = examine(settings.Mirror(url="https://github.com/o/r/blob/main/")).sources
    assert source.owner == "this machine"
    assert source.address_problem == "a GitHub web page, not a file"
    assert source.remedy == "write https://github.com/o/r/raw/main/"


def test_template_that_can_name_no_file_is_not_asked(examine, lab):
    url = lab.good().url
    mirror = settings.Mirror(url=f"{url}{{md5}}")  # the laboratory's catalog has no MD5
    report = examine(mirror, lab.good())
    source = report.sources[0]
    assert report.ok
    assert (source.cause, source.owner) == ("unsupported-scheme", "this machine")
    assert "names files by {md5}" in source.evidence
    assert lab.asked(settings.Mirror(url=url)) == []


def test_template_is_asked_for_those_files_alone_that_it_can_name(examine, lab, scripted):
    known = [dataclasses.replace(f, md5="5" if f.name == SMALL else "") for f in lab.dataset.files]
    mirror = scripted(lambda request, reply: reply.whole("200 OK", lab.files[SMALL]))
    mirror = dataclasses.replace(mirror, url=f"{mirror.url}{{md5}}")
    dataset = dataclasses.replace(lab.dataset, files=tuple(known))
    (source,) = examine(mirror, dataset=dataset).sources
    assert (source.cause, source.serves) == ("", (SMALL,))


@pytest.mark.parametrize("wrong", ["bytes", "folder", "none"])
def test_folder_in_the_list_is_examined_offline_too(wrong, examine, lab, tmp_path):
    for name in (file.name for file in lab.dataset.files):
        (tmp_path / name).write_bytes(lab.files[name])
    mirror = settings.Mirror(url=f"{tmp_path.as_uri()}/")
    assert examine(mirror, offline=True).ok
    (tmp_path / BIG).unlink()
    if wrong == "folder":
        (tmp_path / BIG).mkdir()
    elif wrong == "bytes":
        (tmp_path / BIG).write_bytes(bytes(lab.files[BIG][:-900]))
    (source,) = examine(mirror, offline=True).sources
    expected = {"bytes": "wrong-content", "folder": "forbidden", "none": "not-found"}
    assert source.cause == expected[wrong]
    assert str(tmp_path / BIG) in source.evidence
    assert len(source.serves) == 3


def test_places_on_this_disk_are_looked_at_in_the_order_of_a_download(lab, tmp_path):
    cache = tmp_path / "cache" / lab.dataset.cache_folder
    cache.mkdir(parents=True)
    (cache / SMALL).write_bytes(lab.files[SMALL])
    found = settings.Settings(
        mirrors=(), cache_dir=tmp_path / "cache", manual_dir=tmp_path / "manual"
    )
    looked = on_disk.at_hand(found, lab.dataset, None, [tmp_path / "tool"])
    assert [source.name for source in looked] == ["cache", "manual_dir", str(tmp_path / "tool")]
    assert looked[0].serves == (SMALL,)


def test_examination_takes_a_minute_at_most_and_no_longer_than_the_job(tmp_path):
    for deadline_s, limit_s in ((5.0, 5.0), (600.0, doctor.LONGEST_S)):
        network = settings.Network(deadline_s=deadline_s)
        found = settings.Settings(mirrors=(), cache_dir=tmp_path, network=network)
        assert doctor.limit_s(found) == limit_s


def test_slow_failure_is_repeated_once_alone(examine, scripted):
    now = [0.0]

    def slowly(request, reply):
        now[0] += 16.0
        reply.whole("500 Internal Server Error")

    (source,) = examine(scripted(slowly), clock=lambda: now[0]).sources
    assert source.cause == "server-error"
    assert source.probes == 2
