"""A mirror folder as it is served: what its manifest names and its disk has, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
import urllib.parse

import pytest

from fmnist_tfds import artifacts, errors
from fmnist_tfds.exchange import serve, serve_http

FIRST, SECOND = b"first" * 1000, b"second" * 1000


def artifact(name: str, body: bytes, **changed) -> artifacts.Artifact:
    facts = {"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "url": ""}
    return artifacts.Artifact(name=name, **(facts | changed))


def a_set(name: str, *files: artifacts.Artifact) -> artifacts.ArtifactSet:
    return artifacts.ArtifactSet(name=name, title=name, files=files)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "mirror" / "by-hash" / "sha256"
    folder.mkdir(parents=True)
    for body in (FIRST, SECOND):
        (folder / hashlib.sha256(body).hexdigest()).write_bytes(body)
    return tmp_path / "mirror"


@pytest.fixture
def serving(root):
    """Serves the folder with these data sets as its manifest."""
    started = []

    def start(*sets):
        server = serve.serve_folder(root, sets)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.close()
        thread.join()


@pytest.fixture
def ask(serving):
    """The status and body of some requests, over one connection."""

    def answers(server, *paths, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        try:
            found = []
            for path in paths:
                connection.request("GET", path, headers=fields)
                response = connection.getresponse()
                found.append((response.status, response.read()))
            return found
        finally:
            connection.close()

    return answers


def test_address_that_nobody_chose_is_loopback_alone(serving):
    server = serving(a_set("one", artifact("a.bin", FIRST)))
    assert server.url == f"http://127.0.0.1:{server.port}/"
    # Every address of 127/8 is this machine: a server on all interfaces would answer on this one.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=300)


def test_digest_of_the_manifest_that_is_a_path_serves_no_file_of_the_disk(serving, ask, root):
    (root.parent / "secret").write_text("mine")
    (root / "by-hash" / "sha256" / "inside").write_text("mine")
    forged = [
        artifact(f"{i}.bin", b"mine", sha256=digest)
        for i, digest in enumerate(("../../../secret", str(root.parent / "secret"), "inside"))
    ]
    server = serving(a_set("one", artifact("a.bin", FIRST), *forged))
    paths = [f"/one/{i}.bin" for i in range(3)] + ["/by-hash/sha256/inside"]
    assert [status for status, _ in ask(server, *paths, "/one/a.bin")] == [404] * 4 + [200]


def test_file_that_the_folder_lacks_is_not_offered(serving, ask):
    gone = artifact("gone.bin", b"gone")
    server = serving(a_set("one", artifact("a.bin", FIRST), gone))
    (status, _), (_, page) = ask(server, "/one/gone.bin", "/")
    assert status == 404
    assert b"gone.bin" not in page


def test_folder_without_any_of_its_files_is_not_served(root):
    with pytest.raises(errors.StoreError, match="none of the files of its manifest") as caught:
        serve.serve_folder(root, [a_set("one", artifact("gone.bin", b"gone"))])
    assert "mirror create" in caught.value.hint


def test_name_that_two_data_sets_share_stays_that_of_the_first(serving, ask):
    server = serving(
        a_set("one", artifact("a.bin", FIRST)), a_set("two", artifact("a.bin", SECOND))
    )
    found = ask(server, "/a.bin", "/one/a.bin", "/two/a.bin")
    assert found == [(200, FIRST), (200, FIRST), (200, SECOND)]


def test_range_of_a_file_on_the_disk_ends_where_it_was_asked_to(serving):
    server = serving(a_set("one", artifact("a.bin", FIRST)))
    request = b"GET /one/a.bin HTTP/1.1\r\nHost: m\r\nRange: bytes=1-7\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=300) as client:
        client.sendall(request)
        with client.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 ")
    assert body == FIRST[1:8], "a byte more would be the beginning of the next answer"


def test_file_that_changed_its_size_since_is_gone(serving, ask, root):
    server = serving(a_set("one", artifact("a.bin", FIRST)))
    path = root / "by-hash" / "sha256" / hashlib.sha256(FIRST).hexdigest()
    path.write_bytes(FIRST + b"more")
    ((status, said),) = ask(server, "/one/a.bin")
    assert (status, said) == (404, b"gone: it was listed when this server began\n")


@pytest.mark.parametrize(
    "name", ["a b.bin", "a%20b.bin", "50% #1?.bin", 'a"><script>.bin', "\u00e9.bin"]
)
def test_any_name_is_served_where_the_page_links_to_and_is_no_markup(name, serving, ask):
    server = serving(a_set("<b>one</b>", artifact(name, FIRST)))
    ((_, page),) = ask(server, "/")
    assert b"<b>" not in page
    assert b"<script>" not in page
    links = [part.partition('"')[0] for part in page.decode().split('<a href="')[1:]]
    assert ask(server, *links) == [(200, FIRST)] * 2
    assert [urllib.parse.unquote(link) for link in links] == [f"/<b>one</b>/{name}", f"/{name}"]


def test_name_with_a_percent_sign_is_served_to_a_client_that_quotes_nothing(serving, ask):
    server = serving(a_set("one", artifact("a%20b.bin", FIRST)))
    assert ask(server, "/a%20b.bin") == [(200, FIRST)]


@pytest.mark.parametrize(("name", "requests"), [("large.bin", 1), ("a.bin", 3000)])
def test_client_that_stops_reading_is_given_up_without_a_word(
    name, requests, serving, root, monkeypatch, capfd
):
    monkeypatch.setattr(serve_http.Handler, "timeout", 0.2)
    given_up = threading.Event()

    def close_request(server, request):
        request.close()
        given_up.set()

    monkeypatch.setattr(serve_http.HttpServer, "close_request", close_request)
    body = bytes(64 << 20)
    large = artifact("large.bin", body)
    (root / "by-hash" / "sha256" / large.sha256).write_bytes(body)
    server = serving(a_set("one", large, artifact("a.bin", FIRST)))
    with socket.create_connection(("127.0.0.1", server.port), timeout=300) as client:
        with contextlib.suppress(ConnectionError):  # given up before all was asked for
            client.sendall(f"GET /{name} HTTP/1.1\r\nHost: m\r\n\r\n".encode() * requests)
        assert given_up.wait(300)
    assert capfd.readouterr() == ("", "")
