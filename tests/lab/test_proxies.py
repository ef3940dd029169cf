"""What real proxies really send is explained: the evidence behind the cases marked "original"."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import requests
import scripted

from fmnist_tfds import obtain
from fmnist_tfds.config import loader, settings
from fmnist_tfds.download.diagnosis import responses
from fmnist_tfds.download.transport import (
    credentials,
    request,
    second_look,
    session,
    transfer,
    watching,
)

NAME = "t10k-labels-idx1-ubyte.gz"
LONGEST_S = 60.0


def _through(proxy, url, ca_bundle=None):
    """Status and explanation of one GET through a proxy, explained as a transfer would."""
    route = settings.Route(proxy=proxy, ca_bundle=ca_bundle)
    watch = watching.Watch()
    session.watch_connections(watch.connected)
    try:
        with (
            contextlib.closing(watch),
            session.request(
                url,
                route=route,
                headers={},
                cookies=requests.cookies.RequestsCookieJar(),
                connect_timeout_s=LONGEST_S,
                read_timeout_s=LONGEST_S,
            ) as response,
        ):
            if response.status_code == 200:
                return 200, None
            body = response.raw.read(4096)
    except requests.RequestException as error:
        return 0, second_look.from_exception(error, url=url, route=route, timeout_s=LONGEST_S)
    found = responses.from_response(
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
    assert _through(lab.squid_bump.url, url, lab.inspection.certificate) == (200, None)


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
            session.get(url, timeout=LONGEST_S, verify=str(lab.authority.certificate))
    found = second_look.from_exception(
        info.value, url=url, route=settings.Route(), timeout_s=LONGEST_S
    )
    assert found.cause == "tls-untrusted"
    assert words in found.evidence


def test_server_that_wants_a_client_certificate_is_named(lab, needs, tmp_path):
    needs("openssl")
    mirror = settings.Mirror(
        url=lab.tls_server("wants-a-client-certificate").base("ok"),
        ca_bundle=lab.authority.certificate,
    )
    network = settings.Network(LONGEST_S, LONGEST_S, attempts=1, deadline_s=240.0)
    found = obtain.obtain(settings.Settings(mirrors=(mirror,), cache_dir=tmp_path, network=network))
    causes = {attempt.cause for file in found.files.values() for attempt in file.attempts}
    assert causes == {"auth-required"}
    assert "client_cert" in str(found.error)


def test_server_that_says_late_that_it_wants_a_client_certificate_is_heard(lab, needs, tmp_path):
    needs("openssl")
    certificate = lab.authority.issue("late.lab.test")
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for context in contexts:
        context.load_cert_chain(certificate.chain, certificate.key)
    contexts[1].verify_mode = ssl.CERT_REQUIRED
    contexts[1].load_verify_locations(lab.authority.certificate)

    def answer():
        # The request is cut off; who asks again and listens is told, more than a second later.
        with contexts[0].wrap_socket(listener.accept()[0], server_side=True) as first:
            first.recv(65536)
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, scripted.RST_NOW)
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts[1].wrap_bio(came, goes, server_side=True)
        with listener.accept()[0] as second:
            while True:
                came.write(second.recv(65536))
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    second.sendall(goes.read())
                    time.sleep(1.2)
                except ssl.SSLError:
                    break
            second.sendall(goes.read())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        mirror = settings.Mirror(url=url, ca_bundle=lab.authority.certificate)
        network = settings.Network(LONGEST_S, LONGEST_S)
        options = settings.Settings(mirrors=(mirror,), cache_dir=tmp_path, network=network)
        file = lab.dataset.files[0]
        part = tmp_path / "part"
        order = request.Request(
            file, mirror, options, part, lab.dataset, credentials.Secrets(loader.resolve_secret)
        )
        watch = watching.Watch()
        delivery = transfer.run(order, watch)
        watch.close()
        thread.join(LONGEST_S)
    assert delivery.problem.cause == "auth-required"


def test_socks_proxy_passes_the_file(lab, needs):
    needs("PySocks")
    assert _through(f"socks5h://127.0.0.1:{lab.socks.port}", lab.server.base("ok") + NAME) == (
        200,
        None,
    )


_TRAINING = """[training]
epochs = 1
batch_size = 40
model = "fast_cnn"
eval_batch_size = 200
split = "train[:600]"
validation_split = ""
"""


def test_from_an_empty_disk_in_a_bad_network_ours_alone_arrives(needs, real_data, tmp_path):
    needs("nginx", "squid", "openssl")
    config = tmp_path / "quick.toml"
    config.write_text(_TRAINING)
    repo = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [
            *(sys.executable, "scripts/from_empty_disk.py"),
            *(f"--files={real_data}", f"--config={config}"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=repo,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    rows = {row["who"]: row for row in json.loads(done.stdout.splitlines()[-1])}
    ours = rows["fmnist_tfds"]
    assert ours["outcome"] == f"trained to {ours['accuracy']:.2%}"
    assert ours["accuracy"] > 0.5
    for stock in ("stock TFDS", "stock Keras"):
        assert rows[stock]["outcome"].startswith(("fails", "still hanging"))
        assert rows[stock]["accuracy"] == 0
