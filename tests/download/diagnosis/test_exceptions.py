"""Exceptions as requests really raises them, met on loopback, have their cause."""

from __future__ import annotations

import errno
import http.client
import select
import socket
import ssl
import threading

import pytest
import requests
import urllib3.exceptions

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes, exceptions

DIRECT = settings.Route()
LONGEST_S = 60.0


class OneAnswer:
    """A loopback server that treats every connection as `answer(connection)` says."""

    def __init__(self, answer) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/f"
        self._answer = answer
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.settimeout(LONGEST_S)
            try:
                connection.recv(65536)
                self._answer(connection)
            except OSError:
                continue

    def close(self) -> None:
        # Wakes accept(), which close() does not: a connection that it still hands out is closed
        # here, not by the garbage collector in the midst of another test.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def serve():
    servers = []

    def start(answer) -> OneAnswer:
        servers.append(OneAnswer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _failure(url, route=DIRECT, connect_s=LONGEST_S, read_s=LONGEST_S):
    session = requests.Session()
    session.trust_env = False
    proxies = {"http": route.proxy, "https": route.proxy} if route.proxy else {}
    with session:
        try:
            with session.get(
                url, stream=True, timeout=(connect_s, read_s), proxies=proxies
            ) as response:
                while response.raw.read(1024):
                    pass
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return exceptions.from_exception(error, url=url, route=route)
    raise AssertionError(f"{url} did not fail")


def _reply(text):
    def answer(connection):
        connection.sendall(text)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


def test_closed_port_is_connect_refused(closed_port):
    assert _failure(f"http://127.0.0.1:{closed_port}/f").cause == "connect-refused"


def test_unknown_host_is_dns_failure():
    found = _failure("http://no-such-host.invalid/f")
    assert found.cause == "dns-failure"
    assert "no-such-host.invalid" in found.evidence


def test_unknown_proxy_host_is_dns_failure_of_the_proxy():
    found = _failure("http://127.0.0.1/f", settings.Route(proxy="http://proxy.invalid:3128"))
    assert found.cause == "dns-failure"
    assert "the proxy proxy.invalid" in found.evidence


def test_full_backlog_is_connect_timeout():
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        select.select([listener], [], [])  # it is in the queue, which holds no more
        second.setblocking(False)
        second.connect_ex(listener.getsockname())
        found = _failure(f"http://127.0.0.1:{listener.getsockname()[1]}/f", connect_s=0.5)
    assert found.cause == "connect-timeout"


def test_silence_is_stalled(serve):
    assert _failure(serve(lambda connection: None).url, read_s=0.3).cause == "stalled"


def test_silence_in_the_body_is_stalled(serve):
    def answer(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")

    assert _failure(serve(answer).url, read_s=0.3).cause == "stalled"


def test_short_body_is_truncated(serve):
    server = serve(_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc"))
    found = _failure(server.url)
    assert found.cause == "truncated"
    assert "4,997 bytes are missing" in found.evidence


def test_close_without_answer_is_reset(serve):
    server = serve(lambda connection: connection.shutdown(socket.SHUT_RDWR))
    assert _failure(server.url).cause == "reset"


def test_garbage_instead_of_http_is_reset(serve):
    assert _failure(serve(_reply(b"220 smtp.example ESMTP\r\n")).url).cause == "reset"


def test_redirects_without_end_are_a_loop(serve):
    server = serve(
        _reply(
            b"HTTP/1.1 302 Found\r\nLocation: /f\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    )
    assert _failure(server.url).cause == "redirect-loop"


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (b"403 Forbidden", "proxy-denied"),
        (b"407 Proxy Authentication Required", "proxy-auth-required"),
        (b"502 Bad Gateway", "server-error"),
    ],
)
def test_proxy_answer_to_connect_has_its_cause(serve, status, cause):
    proxy = serve(_reply(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"))
    found = _failure(
        "https://mirror.example/f", settings.Route(proxy=f"http://127.0.0.1:{proxy.port}")
    )
    assert found.cause == cause
    assert f"127.0.0.1:{proxy.port}" in found.evidence


def test_refusing_proxy_is_connect_refused_at_the_proxy(closed_port):
    found = _failure(
        "https://mirror.example/f", settings.Route(proxy=f"http://127.0.0.1:{closed_port}")
    )
    assert found.cause == "connect-refused"
    assert f"proxy 127.0.0.1:{closed_port}" in found.evidence


def test_plain_http_on_the_tls_port_is_a_tls_failure(serve):
    server = serve(_reply(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert _failure(f"https://127.0.0.1:{server.port}/f").cause == "tls-untrusted"


def _refused(code, *, host="m.example", issuer=""):
    """What is found where OpenSSL refuses a certificate with that code."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return exceptions.from_exception(
        requests.exceptions.SSLError(error), url=f"https://{host}/f", route=DIRECT, issuer=issuer
    )


@pytest.mark.parametrize(
    ("code", "words"), [(10, "has expired"), (62, "another host name"), (20, "not trusted here")]
)
def test_certificate_failure_says_why_by_its_code(code, words):
    found = _refused(code)
    assert found.cause == "tls-untrusted"
    assert words in found.evidence


def test_unknown_authority_with_a_named_issuer_is_interception():
    found = _refused(20, issuer="Corp Inspection CA")
    assert found.cause == "tls-intercepted"
    assert "Corp Inspection CA" in found.evidence
    assert found.remedy == causes.CAUSES["tls-intercepted"].remedy


def test_certificate_that_has_expired_is_no_interception_whoever_signed_it():
    found = _refused(10, issuer="Any CA")
    assert found.cause == "tls-untrusted"
    assert "has expired, signed by Any CA" in found.evidence


def test_private_host_with_an_unknown_authority_is_untrusted_and_names_it():
    found = _refused(20, host="artifactory.corp", issuer="Corp Root CA")
    assert found.cause == "tls-untrusted"
    assert "Corp Root CA" in found.evidence


def test_missing_socks_support_is_named_with_its_remedy():
    error = requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
    found = exceptions.from_exception(
        error, url="https://m.example/f", route=settings.Route(proxy="socks5h://127.0.0.1:1080")
    )
    assert found.cause == "unsupported-scheme"
    assert "socks" in found.remedy


def test_unknown_scheme_is_unsupported():
    assert _failure("gopher://127.0.0.1/f").cause == "unsupported-scheme"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (http.client.IncompleteRead(b"abc", 7), "truncated"),
        (ConnectionResetError(104, "reset"), "reset"),
        (BrokenPipeError(32, "pipe"), "reset"),
        (TimeoutError("timed out"), "stalled"),
        (OSError(errno.EHOSTUNREACH, "no route"), "connect-refused"),
        (OSError(errno.ENETUNREACH, "no network"), "connect-refused"),
        (OSError(errno.EPERM, "a rule of this machine"), "connect-refused"),
        (OSError(errno.EACCES, "a rule of this machine"), "connect-refused"),
        (OSError(errno.ETIMEDOUT, "no answer to a SYN"), "connect-timeout"),
        (ValueError("odd"), "server-error"),
    ],
)
def test_bare_exception_has_its_cause(error, cause):
    assert exceptions.from_exception(error, url="http://m.example/f", route=DIRECT).cause == cause


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("Exceeds the limit (4300 digits) for integer string conversion"), "understood"),
        (KeyError("Location"), "understood"),
        (OverflowError("date value out of range"), "understood"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (urllib3.exceptions.HTTPError("the bucket is archived"), "the bucket is archived"),
    ],
)
def test_exception_without_a_rule_is_told_without_pythons_words(error, words):
    found = exceptions.from_exception(error, url="http://m.example/f", route=DIRECT)
    assert found.cause == "server-error"
    assert words in found.evidence
    assert found.evidence.startswith("m.example: ")
    for python in (type(error).__name__, "Errno", "digits", "'"):
        assert python not in found.evidence
