"""The four files over HTTP for the rest of the cluster: ranges, ETag, HEAD, and a page for people.

It serves the four files and nothing else; no path of a request ever reaches the disk, since the
files (31 MB) are read and checked once, at the start. As an HTTP proxy it answers for the address
that stock TFDS has built in, and for no other.

Source: RFC 9110 (ranges, conditional requests), RFC 9112 (absolute-form request targets).
"""

from __future__ import annotations

import dataclasses
import email.utils
import hashlib
import html
import http.server
import pathlib
import re
import socket
import sys
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any

from fmnist_tfds import catalog, errors, version

_IDLE_S = 30.0
_BACKLOG = 512
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclasses.dataclass(frozen=True, slots=True)
class _Resource:
    """One file as it is sent."""

    body: bytes
    etag: str
    modified: str
    content_type: str


class Server:
    """A running or startable mirror.

    Attributes:
        url: its address, ending in "/".
        port: the TCP port.
    """

    def __init__(self, address: tuple[str, int], resources: Mapping[str, _Resource], title: str):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        kind = type("_Bound", (_HttpServer,), {"address_family": family})
        try:
            self._http: _HttpServer = kind(address, _Handler)
        # OverflowError: no port has that number.
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise errors.StoreError(
                f"serve: cannot listen on {address[0]}, port {address[1]}: {said}",
                hint="choose another --host or --port; 0 is a free one",
            ) from error
        self._http.resources, self._http.title = resources, title
        host, self.port = self._http.server_address[:2]
        shown = f"[{host!s}]" if family == socket.AF_INET6 else host
        self.url = self._http.url = f"http://{shown!s}:{self.port}/"
        self._lock = threading.Lock()
        self._is_serving = self._is_closed = False

    def serve_forever(self) -> None:
        """Answers until `close` is called from another thread; not at all where it was already."""
        with self._lock:
            if self._is_closed:
                return
            self._is_serving = True
        self._http.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stops answering and frees the port."""
        with self._lock:
            self._is_closed = True
        if self._is_serving:
            self._http.shutdown()
        self._http.server_close()


def serve(
    files: Mapping[str, pathlib.Path],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
) -> Server:
    """A server of the four files, bound but not yet answering.

    Args:
        files: canonical name -> a genuine .gz.
        host: address to listen on; loopback unless told otherwise.
        port: TCP port; 0 for a free one.
        dataset: which data set the files are.

    Raises:
        StoreError: a file cannot be read, or the address not be listened on.
    """
    resources = {}
    for file in dataset.files:
        try:
            body = files[file.name].read_bytes()
        except OSError as error:
            said = error.strerror or error
            raise errors.StoreError(f"{files[file.name]}: cannot be read: {said}") from error
        digest = hashlib.sha256(body).hexdigest()
        modified = email.utils.formatdate(file.gzip_mtime, usegmt=True)
        # application/gzip and no Content-Encoding: clients must not unpack it on the way.
        resources["/" + file.name] = _Resource(body, f'"{digest}"', modified, "application/gzip")
    return Server((host, port), resources, dataset.title)


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _BACKLOG
    resources: Mapping[str, _Resource]
    title: str
    url: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports an error, unless a client went away or fell silent, which is no event."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server_version = f"fmnist-tfds/{version.VERSION}"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _HttpServer

    def do_GET(self) -> None:
        """A file, a range of it, or the index page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The headers of the same."""
        self._answer(with_body=False)

    def _refuse_method(self) -> None:
        self.close_connection = True  # a body that is not read would be taken for a request
        self._send(405, b"only GET and HEAD\n", "text/plain", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_CONNECT = _refuse_method  # noqa: N815

    def _answer(self, *, with_body: bool) -> None:
        path = self._path()
        if path == "/":
            page = _page(self.server, self._host()).encode()
            policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
            self._send(200, page, "text/html; charset=utf-8", policy, with_body=with_body)
        elif (resource := self.server.resources.get(path)) is not None:
            self._send_file(resource, with_body=with_body)
        else:
            text = b"not found: this server holds four files, listed at /\n"
            self._send(404, text, "text/plain", with_body=with_body)

    def _path(self) -> str:
        """The path asked for; of another host's address only where stock TFDS has it built in."""
        parts = urllib.parse.urlsplit(self.path)
        if not parts.scheme and not parts.netloc:
            return parts.path
        is_ours = (
            parts.hostname in _built_in_hosts() or f"http://{parts.netloc}/" == self.server.url
        )
        return parts.path if parts.scheme == "http" and is_ours else ""

    def _host(self) -> str:
        host = self.headers.get("Host", "")
        return f"http://{host}/" if _HOST.fullmatch(host) else self.server.url

    def _send_file(self, resource: _Resource, *, with_body: bool) -> None:
        fields = {
            "ETag": resource.etag,
            "Last-Modified": resource.modified,
            "Accept-Ranges": "bytes",
            "Cache-Control": "public, max-age=86400",
        }
        matches = self.headers.get("If-None-Match", "")
        known = [tag.strip().removeprefix("W/") for tag in matches.split(",")]
        if resource.etag in known or "*" in known:
            self._send(304, b"", "", fields, with_body=False)
            return
        body = memoryview(resource.body)
        span = self._span(len(body), resource) if self.command == "GET" else None
        if span is None:
            self._send(200, body, resource.content_type, fields, with_body=with_body)
            return
        start, stop = span
        if start >= stop:
            fields["Content-Range"] = f"bytes */{len(body)}"
            self._send(416, b"", "text/plain", fields)
            return
        fields["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        self._send(206, body[start:stop], resource.content_type, fields, with_body=with_body)

    def _span(self, size: int, resource: _Resource) -> tuple[int, int] | None:
        """The range asked for; None for the whole file (several ranges, too, may be ignored)."""
        found = _RANGE.fullmatch(self.headers.get("Range", "").replace(" ", ""))
        condition = self.headers.get("If-Range", resource.etag)
        if (
            not found
            or not any(found.groups())
            or condition
            not in (
                resource.etag,
                resource.modified,
            )
        ):
            return None
        first, last = found.groups()
        if not first:
            return max(size - int(last), 0), size
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
        return int(first), stop

    def _send(
        self,
        status: int,
        body: bytes | memoryview,
        content_type: str,
        fields: Mapping[str, str] | None = None,
        *,
        with_body: bool = True,
    ) -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        # An HTTP/1.0 client (ab -k) waits for the end of the connection unless told that it stays.
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A malformed request: one line, and the connection is closed."""
        self.close_connection = True
        self._send(code, f"{code} {message or 'bad request'}\n".encode(), "text/plain")

    def version_string(self) -> str:
        """The Server header."""
        return self.server_version

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: who serves decides what to log."""


def _built_in_hosts() -> set[str | None]:
    urls = (urllib.parse.urlsplit(url) for url in catalog.FASHION_MNIST.mirrors)
    return {url.hostname for url in urls if url.scheme == "http"}


def _page(server: _HttpServer, url: str) -> str:
    rows = "".join(
        f'<tr><td><a href="{path}">{html.escape(path[1:])}</a></td>'
        f"<td>{len(item.body):,}</td><td><code>{item.etag[1:-1]}</code></td></tr>"
        for path, item in server.resources.items()
    )
    base = html.escape(url.rstrip("/") + "/")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(server.title)} mirror</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }}
pre {{ background: #f2f2f0; padding: .8rem 1rem; border-radius: 6px;
       white-space: pre-wrap; overflow-wrap: anywhere }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }}
td:nth-child(2) {{ text-align: right }}
td code {{ font-size: .75rem; overflow-wrap: anywhere }}
</style></head><body>
<h1>{html.escape(server.title)}, mirrored here</h1>
<p>Paste this line; every byte is checked against pinned digests, so the mirror need not be
trusted:</p>
<pre>export FMNIST_TFDS_MIRRORS={base}</pre>
<p>Stock TensorFlow Datasets, unchanged, takes this server as its HTTP proxy:</p>
<pre>http_proxy={base} python -c 'import tensorflow_datasets as t; t.load("fashion_mnist")'</pre>
<p>Or by hand:</p>
<pre>curl -O {base}train-images-idx3-ubyte.gz</pre>
<table><thead><tr><th>file</th><th>bytes</th><th>sha256</th></tr></thead><tbody>{rows}</tbody></table>
</body></html>
"""
