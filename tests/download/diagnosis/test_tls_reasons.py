"""Every reason why TLS fails has its own sentence and remedy; real certificates and servers."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import certificates, exceptions, tls_reasons

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jobs

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


def _openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """ca.pem and NAME.pem (certificate and key) for each kind of certificate."""
    folder = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/O=Ours/CN=Ours CA", "-days", "30")
    _openssl(folder, "req", "-x509", *key, *ca)
    kinds = {
        "good": ((), key, "IP:127.0.0.1"),
        "another-name": ((), key, "DNS:other.example"),
        "weak-key": ((), ("-newkey", "rsa:1024", "-nodes"), "IP:127.0.0.1"),
        "sha1": (("-sha1",), key, "IP:127.0.0.1"),
        "expired": (("-not_after", "20200102000000Z"), key, "IP:127.0.0.1"),
        "client-only": ((), key, "IP:127.0.0.1\nextendedKeyUsage=clientAuth"),
    }
    for name, (signing, how, san) in kinds.items():
        (folder / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        _openssl(folder, "req", *how, *request)
        issue = ("-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7")
        days = ("-days", "30")
        if name == "expired":
            days, signing = ("-days", "-1"), ()
        extension = ("-extfile", f"{name}.ext", "-out", f"{name}.crt")
        _openssl(folder, "x509", "-req", *issue, *days, *signing, *extension)
        pem = (folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text()
        (folder / f"{name}.pem").write_text(pem)
    alone = ("-keyout", "self.key", "-out", "self.crt", "-subj", "/CN=self", "-days", "30")
    _openssl(folder, "req", "-x509", *key, *alone, "-addext", "subjectAltName=IP:127.0.0.1")
    both = (folder / "self.crt").read_text() + (folder / "self.key").read_text()
    (folder / "self.pem").write_text(both)
    return folder


@contextlib.contextmanager
def _serving(handle):
    """The port of a loopback server that hands each connection to `handle`, in its own thread."""
    threads = []

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def serve():
        with contextlib.suppress(OSError):  # the listener is shut down
            while True:
                threads.append(threading.Thread(target=answer, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(60)
        for thread in threads:
            thread.join(60)


def _tls(made, kind, **limits):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(made / f"{kind}.pem")
    for name, value in limits.items():
        setattr(context, name, value)

    def handle(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)

    return handle


def _attempt(tmp_path, made, port, *, bundle="ca.pem", **environment):
    mirror = settings.Mirror(f"https://127.0.0.1:{port}/", ca_bundle=made / bundle)
    options = jobs.options(
        tmp_path, mirror, attempts=1, environment=settings.Environment(**environment)
    )
    (attempt,) = jobs.run(options).files[jobs.BIG.name].attempts
    return attempt


def _explained(tmp_path, made, port, **options):
    attempt = _attempt(tmp_path, made, port, **options)
    assert attempt.cause == "tls-untrusted"
    return attempt


@pytest.mark.parametrize(
    ("kind", "said", "remedy"),
    [
        ("self", "is self-signed", "ca_bundle"),
        ("expired", "has expired", "clock"),
        ("another-name", "is for another", "the host name that stands in the certificate"),
        ("weak-key", "has a key that is too short", "owner must fix this"),
        ("client-only", "is not meant for servers", "owner must fix this"),
    ],
)
def test_certificate_is_refused_for_its_own_reason(tmp_path, made, kind, said, remedy):
    with _serving(_tls(made, kind)) as port:
        attempt = _explained(tmp_path, made, port)
    assert f"the certificate of 127.0.0.1 {said}" in attempt.evidence
    assert remedy in attempt.remedy
    assert "code" not in attempt.evidence
    assert kind == "expired" or "clock" not in attempt.remedy


def test_authority_that_is_not_known_is_asked_for(tmp_path, made):
    with _serving(_tls(made, "good")) as port:
        attempt = _explained(tmp_path, made, port, bundle="self.crt")
    assert "comes from an authority that is not trusted here" in attempt.evidence
    assert "ca_bundle" in attempt.remedy


def test_server_of_old_tls_alone_is_named(tmp_path, made):
    old = {"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1}
    with (
        pytest.warns(DeprecationWarning, match="TLSv1"),
        _serving(_tls(made, "good", **old)) as port,
    ):
        attempt = _explained(tmp_path, made, port)
    assert "TLS" in attempt.evidence
    assert "owner must fix this" in attempt.remedy
    assert "clock" not in attempt.remedy


def test_server_that_speaks_no_tls_is_named(tmp_path, made):
    def plain(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with _serving(plain) as port:
        attempt = _explained(tmp_path, made, port)
    assert "speaks no TLS" in attempt.evidence
    assert "scheme and port" in attempt.remedy


def test_https_proxy_that_speaks_http_is_told_to_be_written_so(tmp_path, made):
    def plain(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with _serving(plain) as port:
        proxies = {"https": f"https://127.0.0.1:{port}"}
        attempt = _explained(tmp_path, made, 1, proxies=proxies)
    assert "the proxy speaks no TLS" in attempt.evidence
    assert "http://" in attempt.remedy


PAGE = b"<html><title>Web policy</title>Ask the help desk for access"
LOGIN = b"<html><title>Guest network</title><form><input type='password'></form>"


@pytest.mark.parametrize("packets", [1, 2])
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"])
@pytest.mark.parametrize(
    ("page", "cause", "said"),
    [(PAGE, "proxy-denied", "'Web policy'"), (LOGIN, "captive-portal", "a login page")],
)
def test_page_instead_of_a_tunnel_is_the_proxys(tmp_path, made, page, cause, said, head, packets):
    """200 to CONNECT, and then HTML: no certificate has anything to do with it."""

    def proxy(connection):
        connection.recv(4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        if packets == 1:
            connection.sendall(answer + head + page)
        else:
            connection.sendall(answer)
            connection.sendall(head + page)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    with _serving(proxy) as port:
        attempt = _attempt(tmp_path, made, 1, proxies={"https": f"http://127.0.0.1:{port}"})
    assert attempt.cause == cause
    assert f"200 from 127.0.0.1:{port} for CONNECT 127.0.0.1, and then: " in attempt.evidence
    assert said in attempt.evidence


@pytest.mark.parametrize("code", [66, 68, 79, 85, 92, 23, 4711, 0])
def test_every_code_has_words_and_a_remedy(code):
    words, remedy = tls_reasons.of_certificate(code)
    assert words
    assert remedy


@pytest.mark.parametrize("reason", ["", "UNSUPPORTED_PROTOCOL", "SOMETHING_NEW"])
def test_every_reason_of_a_handshake_has_words_and_a_remedy(reason):
    words, remedy = tls_reasons.of_handshake(reason, is_tls_proxy=False)
    assert words
    assert remedy
    assert "_" not in words


def test_files_that_are_no_authority_are_named_with_the_command_that_helps(made):
    _openssl(made, "x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der")
    _openssl(made, "crl2pkcs7", "-nocrl", "-certfile", "ca.pem", "-out", "ca.p7b")
    _openssl(
        made, "crl2pkcs7", "-nocrl", "-certfile", "ca.pem", "-outform", "DER", "-out", "der.p7b"
    )
    (made / "empty.pem").write_text("")
    (made / "folder").mkdir()
    said = {
        "ca.pem": "",
        "good.pem": "",
        "ca.p7b": "PKCS #7 bundle, no PEM certificate: openssl pkcs7 -print_certs",
        "der.p7b": "openssl pkcs7 -inform DER",
        "ca.der": "openssl x509 -inform DER",
        "good.key": "a private key",
        "good.csr": "a certificate request",
        "empty.pem": "it holds no PEM certificate",
        "folder": "the folder is empty",
        ".": "",
    }
    for name, words in said.items():
        problem = certificates.file_problem(made / name)
        assert words in problem, name
        assert bool(words) == bool(problem), name


def test_proxy_whose_host_is_unknown_is_this_machines_setting():
    route = settings.Route(proxy="http://proxy.typo.example:3128", proxy_origin="HTTPS_PROXY")
    found = exceptions.from_exception(
        socket.gaierror(-2, "unknown"), url="https://mirror.example/", route=route
    )
    assert found.cause == "dns-failure"
    assert "the proxy proxy.typo.example has no address (set by HTTPS_PROXY)" in found.evidence
    assert found.remedy == "correct the host name in HTTPS_PROXY"
