"""The LAN mirror as real clients see it: curl, raw sockets, a browser, stock TFDS."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import shutil
import socket
import subprocess
import threading

import containers as made
import forked
import pytest

from fmnist_tfds import errors
from fmnist_tfds.cli import exchange
from fmnist_tfds.exchange import serve

NAME = "t10k-labels-idx1-ubyte.gz"
WEBSITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def running(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


@pytest.fixture
def mirror(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    files = {name: folder / name for name in made.NAMES}
    (folder / "secret.txt").write_text("not served")
    yield from running(serve.serve(files, dataset=standin.dataset))


def curl(*arguments) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    return subprocess.run(
        ["curl", "-sS", "--max-time", "300", *arguments], check=True, capture_output=True
    ).stdout


def raw(mirror, request: bytes) -> bytes:
    port = int(mirror.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=300) as client:
        client.sendall(request)
        answer = b""
        while part := client.recv(1 << 16):
            answer += part
    return answer


def head(text: bytes) -> dict[str, str]:
    lines = text.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return {"status": lines[0].split()[1]} | {
        k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])
    }


def test_serve_binds_to_loopback_unless_told_otherwise(mirror):
    assert mirror.url.startswith("http://127.0.0.1:")


def test_serve_gives_every_file_to_curl(mirror, standin):
    for name in made.NAMES:
        assert curl(mirror.url + name) == standin.gz[name]


def test_serve_answers_head_with_length_and_etag(mirror, standin):
    answer = head(curl("-I", mirror.url + NAME))
    digest = hashlib.sha256(standin.gz[NAME]).hexdigest()
    assert answer["status"] == "200"
    assert answer["etag"] == f'"{digest}"'
    assert answer["content-length"] == str(len(standin.gz[NAME]))
    assert answer["content-type"] == "application/gzip"
    assert "content-encoding" not in answer


@pytest.mark.parametrize(
    ("range_", "status", "span"),
    [
        ("0-9", "206", slice(0, 10)),
        ("20-", "206", slice(20, None)),
        ("-7", "206", slice(-7, None)),
        ("3-999999999", "206", slice(3, None)),
        ("-999999999", "206", slice(None)),
        ("9-3", "200", slice(None)),
        ("0-1,4-5", "200", slice(None)),
    ],
)
def test_serve_answers_ranges(mirror, standin, range_, status, span):
    answer = curl("-i", "-H", f"Range: bytes={range_}", mirror.url + NAME)
    fields, _, body = answer.partition(b"\r\n\r\n")
    assert head(fields)["status"] == status
    assert body == standin.gz[NAME][span]


def test_serve_refuses_a_range_beyond_the_end(mirror, standin):
    answer = head(curl("-i", "-H", "Range: bytes=999999-", mirror.url + NAME))
    assert answer["status"] == "416"
    assert answer["content-range"] == f"bytes */{len(standin.gz[NAME])}"


def test_serve_lets_curl_resume(mirror, standin, tmp_path):
    part = tmp_path / "part.gz"
    part.write_bytes(standin.gz[NAME][:33])
    curl("-C", "-", "-o", str(part), mirror.url + NAME)
    assert part.read_bytes() == standin.gz[NAME]


def test_serve_honours_conditions(mirror):
    etag = head(curl("-I", mirror.url + NAME))["etag"]
    fresh = head(curl("-i", "-H", f"If-None-Match: {etag}", mirror.url + NAME))
    assert fresh["status"] == "304"
    ranged = ("-i", "-H", "Range: bytes=0-3", "-H")
    assert head(curl(*ranged, f"If-Range: {etag}", mirror.url + NAME))["status"] == "206"
    changed = curl(*ranged, 'If-Range: "other"', mirror.url + NAME)
    assert changed.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    ["secret.txt", "../store/secret.txt", "%2e%2e/secret.txt", "/etc/passwd", "receipt.json", "x"],
)
def test_serve_serves_nothing_else(mirror, path):
    answer = curl("-i", "--path-as-is", mirror.url + path)
    assert head(answer)["status"] == "404"
    assert b"not served" not in answer


def test_serve_takes_get_and_head_only(mirror):
    assert head(curl("-i", "-X", "PUT", "-d", "x", mirror.url + NAME))["status"] == "405"
    assert head(curl("-i", "-X", "DELETE", mirror.url + NAME))["status"] == "405"


def test_serve_as_a_proxy_answers_for_the_built_in_address_only(mirror, standin):
    assert curl("-x", mirror.url, WEBSITE + NAME) == standin.gz[NAME]
    assert head(curl("-i", "-x", mirror.url, "http://example.org/" + NAME))["status"] == "404"
    assert head(curl("-i", "-x", mirror.url, "http://example.org/"))["status"] == "404"


def test_serve_keeps_connections_of_both_versions(mirror, standin):
    size = len(standin.gz[NAME])
    one = f"GET /{NAME} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
    last = f"GET /{NAME} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
    assert raw(mirror, one + one + last).count(b"HTTP/1.1 200") == 3
    old = f"GET /{NAME} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode()
    answer = raw(mirror, old + f"GET /{NAME} HTTP/1.0\r\n\r\n".encode())
    assert answer.count(b"Connection: keep-alive") == 1
    assert len(answer) > 2 * size


def test_serve_survives_nonsense(mirror, standin):
    for request in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\0" * 30 + b"\r\n\r\n"):
        raw(mirror, request)
    # A line as long as the server reads one: what it left unread would reset the connection.
    raw(mirror, b"GET /".ljust(65_537, b"a"))
    raw(mirror, b"GET http://[::1/x HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
    assert curl(mirror.url + NAME) == standin.gz[NAME]


def test_serve_answers_many_clients_at_once(mirror, standin):
    def fetch(_):
        request = f"GET /{made.NAMES[0]} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
        return raw(mirror, request.encode()).partition(b"\r\n\r\n")[2]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        bodies = list(pool.map(fetch, range(200)))
    assert set(bodies) == {standin.gz[made.NAMES[0]]}


def test_serve_page_holds_the_line_to_paste_and_escapes_the_host(mirror):
    page = curl(mirror.url).decode()
    assert f"export FMNIST_TFDS_MIRRORS={mirror.url}\n" in page.replace("</pre>", "\n")
    named = curl("-H", "Host: mirror.corp:8000", mirror.url).decode()
    assert "FMNIST_TFDS_MIRRORS=http://mirror.corp:8000/" in named
    evil = curl("-H", "Host: <script>alert(1)</script>", mirror.url).decode()
    assert "<script>" not in evil


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "for this machine alone; --host=0.0.0.0"),
        ("0.0.0.0", f"FMNIST_TFDS_MIRRORS=http://{socket.gethostname()}:"),
        ("127.0.0.2", "FMNIST_TFDS_MIRRORS=http://127.0.0.2:"),
    ],
)
def test_serve_tells_the_others_an_address_that_leads_here(host, said, standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    files = {name: folder / name for name in made.NAMES}
    server = serve.serve(files, host, dataset=standin.dataset)
    server.close()
    assert said in exchange._for_others(host, server)


def test_serve_refuses_a_port_that_does_not_exist(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    files = {name: folder / name for name in made.NAMES}
    with pytest.raises(errors.StoreError, match="port 99999"):
        serve.serve(files, port=99999, dataset=standin.dataset)


def test_serve_says_which_port_is_taken(mirror, standin, tmp_path):
    port = int(mirror.url.rstrip("/").rpartition(":")[2])
    files = {name: tmp_path / "store" / name for name in made.NAMES}
    with pytest.raises(errors.StoreError, match=f"cannot listen on 127.0.0.1, port {port}"):
        serve.serve(files, port=port, dataset=standin.dataset)


def test_serve_closed_before_its_thread_came_to_serve_does_not_serve(standin, tmp_path):
    folder = made.write_all(tmp_path, standin.gz)
    server = serve.serve({n: folder / n for n in made.NAMES}, dataset=standin.dataset)
    server.close()
    server.serve_forever()


@pytest.mark.slow
@pytest.mark.network_parts
def test_serve_page_opens_in_a_real_browser(mirror, tmp_path):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs chromium")
    flags = (
        # A small /dev/shm, and a GPU process that is slow to answer, end chromium otherwise.
        "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-gpu-watchdog "
        "--disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    done = subprocess.run(
        [browser, *flags.split(), f"--user-data-dir={tmp_path}", "--dump-dom", mirror.url],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert f"export FMNIST_TFDS_MIRRORS={mirror.url}" in done.stdout
    assert done.stdout.count('<a href="/') == 4


@pytest.mark.slow
@pytest.mark.network_parts
def test_stock_tfds_prepares_from_the_server_as_its_proxy(real_data, tmp_path):
    files = {name: real_data / name for name in made.NAMES}
    for server in running(serve.serve(files)):
        code = (
            "import tensorflow_datasets as tfds\n"
            "few = tfds.download.DownloadConfig(max_examples_per_split=50)\n"
            f"builder = tfds.builder('fashion_mnist', data_dir={str(tmp_path)!r})\n"
            "builder.download_and_prepare(download_config=few)\n"
            "print(builder.info.splits['test'].num_examples)"
        )
        done = forked.run("-c", code, environ={**os.environ, "http_proxy": server.url})
        assert done.stdout.split()[-1:] == ["50"], done.stderr[-2000:]
