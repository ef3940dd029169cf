"""The doctor in real situations: real servers, proxies, certificates of the laboratory."""

from __future__ import annotations

import email.utils
import json
import threading
import time

import laboratory
import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.doctor import findings, page, summary
from fmnist_tfds.download.diagnosis import causes

BIG = "train-images-idx3-ubyte.gz"


def _outcomes(source):
    return {stage.name: stage.outcome for stage in source.stages}


def _texts(report):
    return "\n".join((json.dumps(report.as_json()), page.page(report), report.allowlist))


def test_doctor_passes_a_good_mirror_through_every_stage(examine, lab, needs):
    needs("nginx", "openssl")
    mirror = settings.Mirror(
        url=lab.nginx_tls.url.replace("127.0.0.1", "localhost") + "data/",
        ca_bundle=lab.authority.certificate,
    )
    report = examine(mirror)
    (source,) = report.sources
    assert report.ok
    assert _outcomes(source) == {**dict.fromkeys(findings.STAGES, "ok"), "proxy": "skipped"}
    assert all(s.ms is not None for s in source.stages if s.outcome == "ok")
    assert set(source.serves) == {file.name for file in lab.dataset.files}
    assert (source.cause, source.owner) == ("", "")
    assert "Lab Root" in source.issuer
    assert abs(source.clock_skew_s) < summary.SKEW_S
    assert any("agrees with the servers'" in line for line in report.verdict)


def test_doctor_json_has_every_stage_by_name(examine, lab):
    document = json.loads(json.dumps(examine(lab.good()).as_json()))
    (source,) = document["sources"]
    assert tuple(source["stages"]) == findings.STAGES
    assert set(source["stages"]["http"]) == {"outcome", "ms", "detail"}
    assert document["ok"] is True


def test_doctor_names_a_denying_proxy_and_masks_its_password(examine, lab, needs):
    needs("squid")
    proxy = lab.squid_denying.url.replace("http://", "http://ann:s3cret@")
    mirrors = (
        settings.Mirror(url="https://mirror.example.org/a/"),
        settings.Mirror(url="http://mirror.example.org/b/"),
    )
    report = examine(*mirrors, proxies={"https": proxy, "http": proxy})
    assert not report.ok
    assert {s.cause for s in report.sources} == {"proxy-denied"}
    assert {s.owner for s in report.sources} == {"proxy"}
    assert all(_outcomes(s)["proxy"] == "failed" for s in report.sources)
    assert any("squid" in s.proxy_answered for s in report.sources)
    assert f"127.0.0.1:{lab.squid_denying.port}" in "\n".join(report.verdict)
    assert "s3cret" not in _texts(report)
    assert any("--allowlist" in r.text for r in report.remedies)


def test_doctor_shows_how_to_log_in_to_a_proxy(examine, lab, needs):
    needs("squid")
    report = examine(
        settings.Mirror(url="https://mirror.example.org/"),
        proxies={"https": lab.squid_password.url},
    )
    assert report.sources[0].cause == "proxy-auth-required"
    text = "\n".join(r.text for r in report.remedies)
    assert f"export HTTPS_PROXY='http://USER:PASSWORD@127.0.0.1:{lab.squid_password.port}'" in text


def test_doctor_shows_how_to_get_past_an_ntlm_proxy(examine, lab):
    port = lab.windows_proxy.port
    report = examine(
        settings.Mirror(url="https://mirror.example.org/"),
        proxies={"https": f"http://127.0.0.1:{port}"},
    )
    assert report.sources[0].cause == "proxy-auth-ntlm"
    assert any("px-proxy" in r.text for r in report.remedies)


def _intercepted(lab):
    url = f"https://{laboratory.GOOD_HOST}:{lab.nginx_tls.port}/data/"
    return settings.Mirror(url=url), {"https": lab.squid_bump.url}


def test_doctor_names_interception_and_its_authority(examine, lab, needs):
    needs("squid", "nginx", "openssl")
    mirror, proxies = _intercepted(lab)
    report = examine(mirror, proxies=proxies)
    (source,) = report.sources
    assert (source.cause, source.owner) == ("tls-intercepted", "interception")
    assert "Corp Inspection CA" in source.issuer
    assert _outcomes(source)["proxy"] == "ok"
    assert _outcomes(source)["tls"] == "failed"
    shell = next(r for r in report.remedies if "REQUESTS_CA_BUNDLE" in r.text)
    assert "Corp Inspection CA" in shell.text
    assert any('ca_bundle = "' in r.text for r in report.remedies if r.kind == "toml")


def test_doctor_is_content_where_the_inspection_is_trusted(examine, lab, needs):
    needs("squid", "nginx", "openssl")
    mirror, proxies = _intercepted(lab)
    report = examine(mirror, proxies=proxies, bundle=lab.inspection.certificate)
    assert report.ok, report
    assert "Corp Inspection CA" in report.sources[0].issuer


@pytest.mark.parametrize(
    ("situation", "cause", "owner", "stage"),
    [
        ("portal-200", "captive-portal", "interception", "content"),
        ("portal-511", "captive-portal", "interception", "http"),
        ("s3-denied", "object-missing-or-private", "server", "http"),
        ("cloudflare-challenge", "waf-blocked", "server", "http"),
        ("404", "not-found", "server", "http"),
        ("impostor", "impostor", "server", "content"),
        ("redirect-loop", "redirect-loop", "server", "http"),
        ("cut-with-length", "truncated", "server", "content"),
        ("size-limited", "size-limited", "server", "range"),
    ],
)
def test_doctor_says_what_is_in_the_way_and_whose_it_is(
    situation, cause, owner, stage, examine, lab
):
    report = examine(lab.fault(situation))
    (source,) = report.sources
    assert (source.cause, source.owner) == (cause, owner)
    assert _outcomes(source)[stage] == "failed"
    assert not report.ok


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("expired", "tls-untrusted"), ("wants-a-client-certificate", "auth-required")],
)
def test_doctor_explains_refused_tls(kind, cause, examine, lab, needs):
    needs("openssl")
    url = lab.tls_server(kind).base("ok")
    (source,) = examine(settings.Mirror(url=url, ca_bundle=lab.authority.certificate)).sources
    assert source.cause == cause
    assert not source.serves


def test_doctor_blames_the_line_where_no_name_resolves(examine):
    mirrors = [settings.Mirror(url=f"https://{name}.example.org/") for name in "abc"]
    report = examine(*mirrors)
    assert {(s.cause, s.owner) for s in report.sources} == {("dns-failure", "own line")}
    assert any("export HTTPS_PROXY=" in r.text for r in report.remedies)
    assert any("--manual_dir" in r.text for r in report.remedies)


def test_doctor_blames_the_server_where_only_it_is_down(examine, lab, closed_port):
    down = settings.Mirror(url=f"http://127.0.0.1:{closed_port}/")
    report = examine(down, lab.good())
    assert report.ok
    assert (report.sources[0].cause, report.sources[0].owner) == ("connect-refused", "server")
    assert any("FMNIST_TFDS_MIRRORS=" in r.text for r in report.remedies)


def test_doctor_blames_the_proxy_that_is_down(examine, closed_port):
    report = examine(
        settings.Mirror(url="https://mirror.example.org/"),
        proxies={"all": f"http://127.0.0.1:{closed_port}"},
    )
    assert (report.sources[0].cause, report.sources[0].owner) == ("connect-refused", "proxy")


def test_doctor_repeats_before_it_says_what_is_steady(examine, closed_port):
    sleeps = []
    report = examine(settings.Mirror(url=f"http://127.0.0.1:{closed_port}/"), sleep=sleeps.append)
    assert report.sources[0].probes == 3
    assert sleeps == [1.0, 1.0]
    assert any("not temporary" in line for line in report.verdict)


def test_doctor_calls_a_temporary_failure_by_its_name(examine, lab):
    # The script fails the first request for each file; a situation of its own keeps the count.
    lab.server.scripts["doctor-passing"] = lab.server.scripts["unavailable-then-ok"]
    (source,) = examine(lab.fault("doctor-passing")).sources
    assert source.cause == ""
    assert source.owner == "passing disturbance"
    assert set(source.disturbances) == {"server-error"}


@pytest.mark.parametrize("situation", ["404", "429-for-an-hour"])
def test_doctor_does_not_repeat_what_repeating_cannot_mend(situation, examine, lab):
    assert examine(lab.fault(situation)).sources[0].probes == 1


def test_doctor_finds_a_way_made_of_several_sources(examine, lab, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / BIG).write_bytes(lab.files[BIG])
    half = settings.Mirror(url=(tmp_path / "half").as_uri() + "/", name="half")
    report = examine(lab.fault("size-limited"), half)
    assert report.ok
    assert "several sources together" in report.headline
    assert report.sources[1].serves == (BIG,)


@pytest.mark.parametrize("place", ["cache", "manual_dir"])
def test_doctor_counts_what_lies_on_this_disk(place, examine, lab, closed_port, tmp_path):
    folder = tmp_path / "cache" / lab.dataset.name if place == "cache" else tmp_path / "manual"
    folder.mkdir(parents=True)
    for file in lab.dataset.files:
        (folder / file.name).write_bytes(lab.files[file.name])
    down = settings.Mirror(url=f"http://127.0.0.1:{closed_port}/")
    report = examine(down, manual_dir=folder if place == "manual_dir" else None)
    assert report.ok
    assert report.sources[0].name == place


def test_doctor_opens_no_socket_offline(examine, lab):
    mirror = lab.good()
    report = examine(mirror, offline=True)
    assert report.sources[0].cause == "offline"
    assert report.sources[0].owner == "this machine"
    assert not lab.asked(mirror)


def test_doctor_keeps_its_deadline_and_says_how_far_it_came(examine, lab):
    silent = lab.fault("never-answers")
    silent = settings.Mirror(url=silent.url.replace("127.0.0.1", "localhost"))

    def clock():
        """Time is up when the silent mirror was asked and nobody else is looked at any more."""
        looks = [thread for thread in threading.enumerate() if thread.name == "doctor"]
        return 1e6 if len(looks) == 1 and lab.asked(silent) else 0.0

    report = examine(silent, lab.good(), clock=clock)
    assert report.sources[0].cause == "deadline"
    assert report.sources[0].passed("dns")
    assert "got as far as tcp" in report.sources[0].evidence
    assert report.ok


def test_doctor_does_not_take_a_late_answer_for_a_crawl(examine, lab):
    now = [0.0]

    def late(request, reply):
        now[0] += 9.0
        reply.file(request)

    lab.server.scripts["doctor-late"] = late
    assert examine(lab.fault("doctor-late"), clock=lambda: now[0]).ok


def test_doctor_calls_a_body_below_the_minimum_speed_stalled(examine, lab):
    now, has_looked = [0.0], threading.Event()

    def crawl(request, reply):
        reply.head("200 OK", {"Content-Length": len(reply.body)})
        has_looked.clear()
        reply.raw(reply.body[:1])
        # The first byte is there when the doctor looks at the clock again.
        has_looked.wait(60)
        now[0] += 9.0
        reply.raw(reply.body[1:])

    def clock():
        seconds = now[0]
        if threading.current_thread().name == "doctor":
            has_looked.set()
        return seconds

    lab.server.scripts["doctor-crawl"] = crawl
    (source,) = examine(lab.fault("doctor-crawl"), clock=clock).sources
    assert source.cause == "stalled"


def test_doctor_tells_a_clock_that_is_off(examine, lab):
    wrong = email.utils.formatdate(time.time() - 3 * 86_400, usegmt=True)
    lab.server.scripts["doctor-clock"] = lambda request, reply: reply.whole(
        "200 OK", reply.body, {"Date": wrong}
    )
    report = examine(lab.fault("doctor-clock"))
    assert report.clock_skew_s == pytest.approx(3 * 86_400, abs=120)
    assert any("3 days ahead of the servers' time" in line for line in report.verdict)


def test_doctor_reports_the_hosts_that_redirects_lead_to(examine, lab):
    away = lab.second.base("ok", host="localhost")
    lab.server.scripts["doctor-away"] = lambda request, reply: reply.whole(
        "302 Found", b"", {"Location": away + request.name}
    )
    report = examine(lab.fault("doctor-away"))
    assert report.sources[0].hops == (f"http://localhost:{lab.second.port}/",)
    assert f"localhost  TCP {lab.second.port} HTTP" in report.allowlist
    assert "redirects there" in report.allowlist


def test_doctor_masks_a_token_that_a_server_echoes(examine, lab, tmp_path):
    (tmp_path / "token").write_text("t0ken-s3cret")
    lab.server.scripts["doctor-echo"] = lambda request, reply: reply.whole(
        "200 OK", f"<html><title>{request.headers['authorization']}</title>".encode()
    )
    auth = settings.Auth(type="bearer", token=f"file:{tmp_path}/token")
    report = examine(lab.fault("doctor-echo", auth=auth))
    assert report.sources[0].cause == "wrong-content"
    assert "t0ken-s3cret" not in _texts(report)


def test_doctor_tells_a_secret_that_cannot_be_read(examine, lab, tmp_path):
    auth = settings.Auth(type="bearer", token=f"file:{tmp_path}/gone")
    (source,) = examine(lab.fault("ok", auth=auth)).sources
    assert source.owner == "this machine"
    assert "cannot be read" in source.evidence


@pytest.mark.parametrize("proxy", ["http://proxy:abc", "http://[bad", "ftp://proxy"])
def test_doctor_survives_a_proxy_that_is_no_url(proxy, examine):
    (source,) = examine(
        settings.Mirror(url="https://mirror.example.org/"), proxies={"https": proxy}
    ).sources
    assert source.owner == "this machine"
    assert _outcomes(source)["proxy"] == "failed"


@pytest.mark.parametrize("situation", ["decompressed", "recompressed", "encoding-header-on-gz"])
def test_doctor_accepts_odd_wrappers(situation, examine, lab):
    report = examine(lab.fault(situation))
    assert report.ok, report.sources


def test_doctor_writes_only_words_of_the_vocabulary(examine, lab):
    report = examine(*(lab.fault(name) for name in ("403", "empty", "not-http", "huge-length")))
    assert {s.cause for s in report.sources} <= set(causes.CAUSES)
    assert all(s.remedy and s.evidence and s.owner in findings.OWNERS for s in report.sources)


def test_a_ca_file_that_is_not_there_is_this_machines_trouble(examine, closed_port, tmp_path):
    mirror = settings.Mirror(url=f"https://127.0.0.1:{closed_port}/")
    (source,) = examine(mirror, bundle=tmp_path / "none.pem").sources
    assert (source.cause, source.owner) == ("tls-untrusted", "this machine")
    assert "none.pem: there is no such file" in source.evidence
