"""Proxies: which one is used, what is sent to it, what is told of it."""

from __future__ import annotations

import base64
import json

import family
import jobs
import peers
import pytest

from fmnist_tfds.config import settings, urls


def _serve(handler, path):
    family.send(handler, 200, jobs.BODIES[path.rpartition("/")[2]])


ORIGINS = {"mirror.example:80": _serve}
HTTP = "http://mirror.example/"


def test_a_password_of_a_proxy_is_sent_to_it_and_shown_nowhere(tmp_path):
    with peers.Proxy(ORIGINS) as proxy:
        url = proxy.url.replace("://", "://ann:hunter2@")
        outcome = jobs.obtained(jobs.options(tmp_path, settings.Mirror(HTTP, proxy=url)))
    assert outcome.error is None
    assert proxy.seen[0][1].startswith("Basic ")
    route = jobs.receipt(tmp_path)[jobs.BIG.name]["route"]
    assert route["proxy"].endswith(f"@127.0.0.1:{proxy.port}")
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    for text in (written, json.dumps(outcome.receipt), json.dumps(outcome.as_json())):
        assert "hunter2" not in text


@pytest.mark.parametrize("kind", ["env", "file"])
def test_a_proxy_may_be_a_reference(tmp_path, monkeypatch, kind):
    with peers.Proxy(ORIGINS) as proxy:
        url = proxy.url.replace("://", "://ann:hunter2@")
        (tmp_path / "proxy.txt").write_text(url)
        monkeypatch.setenv("CORP_PROXY", url)
        reference = "env:CORP_PROXY" if kind == "env" else f"file:{tmp_path / 'proxy.txt'}"
        result = jobs.run(jobs.options(tmp_path, settings.Mirror(HTTP, proxy=reference)))
    assert jobs.is_here(result)
    assert proxy.seen[0][0] == f"GET {HTTP}{jobs.BIG.name}"
    assert "hunter2" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_variable_without_a_scheme_is_an_http_proxy(tmp_path):
    with peers.Proxy(ORIGINS) as proxy:
        environment = settings.Environment(proxies={"http": f"127.0.0.1:{proxy.port}"})
        result = jobs.run(jobs.options(tmp_path, HTTP, environment=environment))
    assert jobs.is_here(result)
    route = jobs.receipt(tmp_path)[jobs.BIG.name]["route"]
    assert route["proxy"] == f"http://127.0.0.1:{proxy.port}"
    assert route["proxy_origin"] == "HTTP_PROXY"


def test_https_goes_through_a_tunnel_and_the_signer_is_on_record(tmp_path):
    authority = peers.Authority(tmp_path / "ca", "House of Mirrors")
    certificate = authority.issue("mirror.example")
    with (
        peers.TlsMirror(jobs.BODIES, certificate) as secure,
        peers.Proxy({"mirror.example:443": peers.port_of(secure)}) as proxy,
    ):
        effective = jobs.options(
            tmp_path,
            settings.Mirror("https://mirror.example/", ca_bundle=authority.bundle),
            proxy=proxy.url,
        )
        assert jobs.is_here(jobs.run(effective))
    assert [line for line, _ in proxy.seen] == ["CONNECT mirror.example:443"]
    assert jobs.receipt(tmp_path)[jobs.BIG.name]["route"] == {
        "proxy": proxy.url,
        "proxy_origin": "[network] proxy",
        "tls_issuer": "House of Mirrors",
        "insecure_tls": False,
    }


@pytest.mark.parametrize(
    ("offers", "cause"),
    [
        (("NTLM", "Negotiate"), "proxy-auth-ntlm"),
        (("Negotiate", 'Basic realm="corp"'), "proxy-auth-required"),
        (('Basic realm="corp"',), "proxy-auth-required"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_takes_a_password_too_is_not_called_ntlm_only(tmp_path, scheme, offers, cause):
    def refuse(handler):
        handler.send_response(407)
        for offer in offers:
            handler.send_header("Proxy-Authenticate", offer)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with peers.Proxy({}, refuse) as proxy:
        mirror = settings.Mirror(f"{scheme}://mirror.example/", proxy=proxy.url)
        result = jobs.run(jobs.options(tmp_path, mirror, attempts=1))
    assert jobs.causes(result) == [cause]


def test_refused_credentials_are_called_refused(tmp_path):
    def refuse(handler):
        family.send(handler, 407, Proxy_Authenticate='Basic realm="corp"')

    with peers.Proxy({}, refuse) as proxy:
        url = proxy.url.replace("://", "://ann:hunter2@")
        result = jobs.run(jobs.options(tmp_path, settings.Mirror(HTTP, proxy=url)))
    (attempt,) = result.files[jobs.BIG.name].attempts
    assert "credentials given were refused" in attempt.evidence
    assert "hunter2" not in json.dumps(attempt.as_json())


def test_a_proxy_that_refuses_a_tunnel_was_given_the_password_at_every_look(tmp_path):
    with peers.Proxy({}, lambda handler: family.send(handler, 403)) as proxy:
        url = proxy.url.replace("://", "://ann:p%40ss%3Aword@")
        mirror = settings.Mirror("https://mirror.example/", proxy=url)
        result = jobs.run(jobs.options(tmp_path, mirror, attempts=1))
    assert jobs.causes(result) == ["proxy-denied"]
    # The request itself, and the second look at what exactly the proxy said.
    login = "Basic " + base64.b64encode(b"ann:p@ss:word").decode()
    assert proxy.seen == [("CONNECT mirror.example:443", login)] * 2


MIRROR = settings.Mirror("https://mirror.example/", name="own", proxy="http://own:1")
PLAIN = settings.Mirror("https://mirror.example/")
NONE = settings.Mirror("https://mirror.example/", proxy="")
ALL = {"https": "http://https:2", "http": "http://http:3", "all": "http://all:4"}


@pytest.mark.parametrize(
    ("mirror", "proxies", "no_proxy", "general", "proxy", "origin"),
    [
        (MIRROR, ALL, "*", "http://general:5", "http://own:1", "mirror own"),
        (NONE, ALL, "", "http://general:5", None, "mirror https://mirror.example/"),
        (PLAIN, ALL, "*", "http://general:5", None, "NO_PROXY"),
        (PLAIN, ALL, "mirror.example:443", "http://general:5", None, "NO_PROXY"),
        (PLAIN, ALL, "mirror.example:80", "http://general:5", "http://https:2", "HTTPS_PROXY"),
        (PLAIN, ALL, "", "http://general:5", "http://https:2", "HTTPS_PROXY"),
        (PLAIN, {"http": "http://http:3", "all": "http://all:4"}, "", None, "http://all:4",
         "ALL_PROXY"),
        (PLAIN, {"http": "http://http:3"}, "", "http://general:5", "http://general:5",
         "[network] proxy"),
        (PLAIN, {"http": "http://http:3"}, "", None, None, "none"),
    ],
)  # fmt: skip
def test_the_proxy_is_that_of_the_mirror_then_of_the_variables_then_the_general_one(
    tmp_path, mirror, proxies, no_proxy, general, proxy, origin
):
    environment = settings.Environment(proxies=proxies, no_proxy=no_proxy)
    effective = jobs.options(tmp_path, mirror, environment=environment, proxy=general)
    route = effective.route(mirror, mirror.url)
    assert (route.proxy, route.proxy_origin) == (proxy, origin)


@pytest.mark.parametrize("mirror_ca", [None, "mirror.pem"])
@pytest.mark.parametrize("variable_ca", [None, "variable.pem"])
@pytest.mark.parametrize("general_ca", [None, "general.pem"])
def test_the_authority_is_that_of_the_mirror_then_of_the_variables_then_the_general_one(
    tmp_path, mirror_ca, variable_ca, general_ca
):
    mirror = settings.Mirror(HTTP, ca_bundle=mirror_ca)
    environment = settings.Environment(ca_bundle=variable_ca)
    effective = jobs.options(tmp_path, mirror, environment=environment, ca_bundle=general_ca)
    assert effective.route(mirror, HTTP).ca_bundle == (mirror_ca or variable_ca or general_ca)


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("a.example", None, " b.example ,  a.example ", True),
        ("a.example", None, "A.Example", True),
        ("A.Example", None, "a.example", True),
        ("a.example.", None, "a.example", True),
        ("a.example", None, "*.example", True),
        ("example", None, "*.example", True),
        ("a.example", None, "a.example:443", False),
        ("10.1.2.3", None, "10.1.2.4/8", True),
        ("10.1.2.3", None, "not-an-address, 10.1.2.3", True),
        ("10.1.2.3", 8080, "10.1.2.3:8080", True),
        ("10.1.2.3", 80, "10.1.2.3:8080", False),
        ("::1", None, "[::1]", True),
        ("fd00::1", None, "fd00::/8", True),
        ("fe00::1", None, "fd00::/8", False),
    ],
)
def test_no_proxy_is_read_as_people_write_it(host, port, no_proxy, expected):
    assert urls.bypasses_proxy(host, port, no_proxy) is expected
