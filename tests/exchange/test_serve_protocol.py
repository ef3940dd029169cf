"""The LAN mirror byte by byte: bodies, conditions, connections and headers as HTTP demands them."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import socket
import threading
import urllib.request

import containers as made
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange import serve, serve_http

NAME = "t10k-labels-idx1-ubyte.gz"
WEBSITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


@pytest.fixture(scope="module")
def mirror(standin, tmp_path_factory):
    folder = made.write_all(tmp_path_factory.mktemp("store"), standin.gz)
    server = serve.serve({name: folder / name for name in made.NAMES}, dataset=standin.dataset)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join()


def ask(mirror, method="GET", path="/" + NAME, **fields):
    """One request: the response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=300)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def raw(mirror, request: bytes) -> bytes:
    """Everything that comes back until the server ends the connection."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", mirror.port), timeout=300) as client,
        contextlib.suppress(ConnectionResetError),  # its way to end one with a body left unread
    ):
        client.sendall(request)
        while part := client.recv(1 << 16):
            answer += part
    return answer


def test_address_that_nobody_chose_is_loopback_alone(mirror):
    assert mirror.url == f"http://127.0.0.1:{mirror.port}/"
    # Every address of 127/8 is this machine: a server on all interfaces would answer on this one.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", mirror.port), timeout=300)


@pytest.mark.parametrize("path", ["/", "/" + NAME, "/nothing"])
def test_head_is_what_get_says_without_the_body(path, mirror):
    request = f" {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
    head, body = raw(mirror, b"HEAD" + request), raw(mirror, b"GET" + request)
    fields, _, content = body.partition(b"\r\n\r\n")
    assert content

    def undated(text: bytes) -> list[bytes]:
        return [line for line in text.split(b"\r\n") if not line.startswith(b"Date:")]

    assert head.endswith(b"\r\n\r\n")
    assert undated(head.removesuffix(b"\r\n\r\n")) == undated(fields)
    assert f"Content-Length: {len(content)}".encode() in fields


def test_file_says_that_ranges_are_taken_and_when_it_changed(mirror, standin):
    response, body = ask(mirror)
    file = next(file for file in standin.dataset.files if file.name == NAME)
    assert (response.status, body) == (200, standin.gz[NAME])
    assert response.headers["Accept-Ranges"] == "bytes"
    changed = email.utils.parsedate_to_datetime(response.headers["Last-Modified"])
    assert changed.timestamp() == file.gzip_mtime
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Type"] == "application/gzip"
    assert response.headers["Cache-Control"] == "public, max-age=86400"


def test_each_file_has_an_etag_of_its_own(mirror):
    tags = {ask(mirror, "HEAD", "/" + name)[0].headers["ETag"] for name in made.NAMES}
    assert len(tags) == len(made.NAMES)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize("range_", ["bytes={size}-", "bytes={size}-{size}", "bytes=-0"])
def test_range_that_holds_no_byte_is_refused(range_, mirror, standin):
    size = len(standin.gz[NAME])
    response, body = ask(mirror, Range=range_.format(size=size))
    assert (response.status, body) == (416, b"")
    assert response.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("range_", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=-1", -1, None), ("bytes=9-", 9, None)],
)
def test_range_is_inclusive_and_says_where_it_lies(range_, start, stop, mirror, standin):
    whole = standin.gz[NAME]
    response, body = ask(mirror, Range=range_)
    first = start % len(whole)
    last = first + len(whole[start:stop]) - 1
    assert (response.status, body) == (206, whole[start:stop])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"


def test_head_says_how_long_the_whole_file_is_whatever_range_it_names(mirror, standin):
    response, _ = ask(mirror, "HEAD", Range="bytes=3-4")  # RFC 9110, 14.2: ranges are GET's alone
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(standin.gz[NAME]))


@pytest.mark.parametrize("range_", ["bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4"])
def test_range_that_is_not_understood_gets_the_whole_file(range_, mirror, standin):
    response, body = ask(mirror, Range=range_)
    assert (response.status, body) == (200, standin.gz[NAME])


def test_resuming_a_changed_file_begins_anew(mirror, standin):
    headers = ask(mirror, "HEAD")[0].headers
    for condition, status in (
        (headers["ETag"], 206),
        (headers["Last-Modified"], 206),
        ('"another"', 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("W/" + headers["ETag"], 200),  # RFC 9110, 13.1.5: never a weak one
    ):
        response, body = ask(mirror, Range="bytes=3-", If_Range=condition)
        assert (condition, response.status) == (condition, status)
        assert body == standin.gz[NAME][3 if status == 206 else 0 :]


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
def test_copy_that_is_known_is_not_sent_again(known, mirror):
    tag = ask(mirror, "HEAD")[0].headers["ETag"]
    response, body = ask(mirror, If_None_Match=known.format(tag))
    assert (response.status, body) == (304, b"")
    assert response.headers["ETag"] == tag
    assert "Content-Length" not in response.headers  # it would be taken for the file's


def test_method_that_is_refused_says_which_are_taken_and_its_body_is_no_request(mirror):
    hidden = f"GET /{NAME} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        head = f"{method} /{NAME} HTTP/1.1\r\nHost: m\r\nContent-Length: {len(hidden)}\r\n\r\n"
        answer = raw(mirror, head.encode() + hidden)
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET, HEAD\r\n" in answer
        assert answer.count(b"HTTP/1.1 ") == 1


def test_request_that_is_malformed_ends_the_connection(mirror):
    good = f"GET /{NAME} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
    answer = raw(mirror, b"BREW / HTTP/1.1\r\nContent-Length: 9\r\n\r\n" + good)
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows it may be its body"


def test_client_that_falls_silent_holds_no_thread_for_ever(mirror, monkeypatch):
    assert serve_http.Handler.timeout, "seconds; without it the next line proves nothing"
    monkeypatch.setattr(serve_http.Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", mirror.port), timeout=300) as client:
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (WEBSITE + NAME, 200),
        ("http://example.org/" + NAME, 404),
        ("http://example.org/", 404),
        ("https" + WEBSITE[4:] + NAME, 404),
        ("ftp" + WEBSITE[4:] + NAME, 404),
        ("/../" + NAME, 404),
        ("/%2e%2e/etc/passwd", 404),
        ("//etc/passwd", 404),
        ("/" + NAME + "/", 404),
        ("/" + NAME + "?download=1", 200),
        ("/" + NAME.upper(), 404),
    ],
)
def test_proxy_and_paths_answer_for_the_four_files_and_nothing_else(target, status, mirror):
    assert ask(mirror, path=target)[0].status == status


def test_its_own_address_in_full_is_answered_as_every_server_must(mirror):
    assert ask(mirror, path=mirror.url + NAME)[0].status == 200  # RFC 9112, 3.2.2


def test_file_has_a_path_by_its_digest_as_in_a_mirror_folder(mirror, standin):
    digest = hashlib.sha256(standin.gz[NAME]).hexdigest()
    response, body = ask(mirror, path=f"/by-hash/sha256/{digest}")
    assert (response.status, body) == (200, standin.gz[NAME])


def test_page_runs_nothing_whatever_the_host_header_holds(mirror):
    for host in ("<script>alert(1)</script>", 'a"onload="x', "a b", "a;rm -rf ~"):
        response, page = ask(mirror, path="/", Host=host)
        assert host.encode() not in page
        assert f"FMNIST_TFDS_MIRRORS={mirror.url}".encode() in page
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_page_lists_each_file_with_size_and_digest(mirror, standin):
    page = ask(mirror, path="/")[1].decode()
    for file in standin.dataset.files:
        assert f'<a href="/{file.name}">' in page
        assert f"{file.size_bytes:,}" in page
        assert file.sha256 in page


def test_server_that_was_closed_answers_no_more_and_frees_its_port(standin, tmp_path):
    folder = made.write_all(tmp_path, standin.gz)
    files = {name: folder / name for name in made.NAMES}
    host = "127.0.0.77"  # nobody else is given a port of this address meanwhile
    server = serve.serve(files, host, dataset=standin.dataset)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with urllib.request.urlopen(server.url + NAME, timeout=300) as answer:
        assert answer.read() == standin.gz[NAME]
    server.close()
    thread.join(timeout=600)
    assert not thread.is_alive()
    again = serve.serve(files, host, server.port, dataset=standin.dataset)
    again.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, server.port), timeout=300)


def test_clients_that_come_all_at_once_are_held_in_a_queue(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    server = serve.serve({name: folder / name for name in made.NAMES}, dataset=standin.dataset)
    with contextlib.ExitStack() as held:
        held.callback(server.close)
        for _ in range(300):  # nobody answers yet: beyond the queue none would connect
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))


def test_address_of_the_newer_protocol_is_served_and_its_url_has_brackets(standin, tmp_path):
    folder = made.write_all(tmp_path, standin.gz)
    server = serve.serve({n: folder / n for n in made.NAMES}, "::1", dataset=standin.dataset)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert server.url == f"http://[::1]:{server.port}/"
        with urllib.request.urlopen(server.url + NAME, timeout=300) as answer:
            assert answer.read() == standin.gz[NAME]
    finally:
        server.close()
        thread.join()


def test_file_that_cannot_be_read_is_one_error_before_anything_is_served(standin, tmp_path):
    folder = made.write_all(tmp_path, standin.gz)
    (folder / NAME).unlink()
    with pytest.raises(errors.StoreError, match=f"{NAME}: cannot be read: No such file"):
        serve.serve({name: folder / name for name in made.NAMES}, dataset=standin.dataset)
