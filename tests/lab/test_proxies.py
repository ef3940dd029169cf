"""What real proxies really send is explained: the evidence behind the cases marked "original"."""

from __future__ import annotations

import ssl

import pytest
import requests

from fmnist_tfds import obtain, settings
from fmnist_tfds.download import explain, second_look

NAME = "t10k-labels-idx1-ubyte.gz"


def _through(proxy, url, verify=True):
    """Status and explanation of one GET through a proxy, explained as a transfer would."""
    route = settings.Route(proxy=proxy)
    session = requests.Session()
    session.trust_env = False
    with session:
        try:
            response = session.get(
                url, proxies={"http": proxy, "https": proxy}, timeout=5, stream=True, verify=verify
            )
            if response.status_code == 200:
                return 200, None
            body = response.raw.read(4096)
        except requests.RequestException as error:
            return 0, second_look.from_exception(error, url=url, route=route, timeout_s=5.0)
    found = explain.from_response(
        response.status_code, response.headers, body, url=url, route=route
    )
    return response.status_code, found


@pytest.mark.parametrize("part", ["squid", "tinyproxy"])
def test_open_proxy_passes_the_file(part, lab, needs):
    needs(part)
    assert _through(getattr(lab, part).url, lab.server.base("ok") + NAME) == (200, None)


@pytest.mark.parametrize(
    ("part", "program"), [("squid_denying", "squid"), ("tinyproxy_filtering", "tinyproxy")]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_denying_proxy_is_named(part, program, scheme, lab, needs):
    needs(program)
    url = lab.server.base("ok").replace("http:", f"{scheme}:") + NAME
    _, found = _through(getattr(lab, part).url, url)
    assert found.cause == "proxy-denied"
    assert program in found.evidence


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_wants_a_password_is_named(scheme, lab, needs):
    needs("squid")
    url = lab.server.base("ok").replace("http:", f"{scheme}:") + NAME
    _, found = _through(lab.squid_password.url, url)
    assert found.cause == "proxy-auth-required"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_offers_windows_authentication_only_is_named(scheme, lab):
    url = lab.server.base("ok").replace("http:", f"{scheme}:") + NAME
    _, found = _through(f"http://127.0.0.1:{lab.windows_proxy.port}", url)
    assert found.cause == "proxy-auth-ntlm"
    assert "negotiate, ntlm" in found.evidence


def test_second_look_is_not_made_without_time(lab, needs):
    needs("openssl")
    url = lab.tls_server("unknown").base("ok") + NAME
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = 20
    found = second_look.from_exception(error, url=url, route=settings.Route(), timeout_s=0.0)
    assert "signed by" not in found.evidence


def test_squid_says_that_the_origin_refuses(lab, needs, closed_port):
    needs("squid")
    status, found = _through(lab.squid.url, f"http://127.0.0.1:{closed_port}/{NAME}")
    assert (status, found.cause) == (503, "connect-refused")
    assert "ERR_CONNECT_FAIL 111" in found.evidence


def test_interception_is_named_with_the_authority_that_signs(lab, needs):
    needs("squid", "openssl", "nginx")
    url = f"https://mirror.example:{lab.nginx_tls.port}/data/{NAME}"
    _, found = _through(lab.squid_bump.url, url)
    assert found.cause == "tls-intercepted"
    assert "Corp Inspection CA" in found.evidence


def test_interception_with_its_authority_given_passes_the_file(lab, needs):
    needs("squid", "openssl", "nginx")
    url = f"https://mirror.example:{lab.nginx_tls.port}/data/{NAME}"
    bundle = str(lab.inspection.certificate)
    assert _through(lab.squid_bump.url, url, verify=bundle) == (200, None)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unknown", "not trusted here, signed by Lab, Nobody Knows Me"),
        ("expired", "has expired"),
        ("wrong-host", "for another"),
        ("self-signed", "self-signed"),
    ],
)
def test_bad_certificate_is_told_by_kind(kind, words, lab, needs):
    needs("openssl")
    url = lab.tls_server(kind).base("ok") + NAME
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError) as info:
            session.get(url, timeout=5, verify=str(lab.authority.certificate))
    found = second_look.from_exception(info.value, url=url, route=settings.Route(), timeout_s=5.0)
    assert found.cause == "tls-untrusted"
    assert words in found.evidence


def test_server_that_wants_a_client_certificate_is_named(lab, needs, tmp_path):
    needs("openssl")
    mirror = settings.Mirror(
        url=lab.tls_server("wants-a-client-certificate").base("ok"),
        ca_bundle=lab.authority.certificate,
    )
    network = settings.Network(connect_timeout_s=2, read_timeout_s=2, attempts=1, deadline_s=20)
    found = obtain.obtain(settings.Settings(mirrors=(mirror,), cache_dir=tmp_path, network=network))
    causes = {attempt.cause for file in found.files.values() for attempt in file.attempts}
    assert causes == {"auth-required"}
    assert "client_cert" in str(found.error)


def test_socks_proxy_passes_the_file(lab, needs):
    needs("PySocks")
    assert _through(f"socks5h://127.0.0.1:{lab.socks.port}", lab.server.base("ok") + NAME) == (
        200,
        None,
    )
