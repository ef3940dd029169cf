"""How the mirror answers: ranges, ETag, HEAD, one page for people; files from memory or from disk.

No path of a request ever reaches the disk: what can be asked for stands in one table.

Source: RFC 9110 (ranges, conditional requests), RFC 9112 (absolute-form request targets).
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import http.server
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fmnist_tfds import catalog, version

_IDLE_S = 30.0
_BACKLOG = 512
_CHUNK_BYTES = 1 << 20
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
BY_HASH = "/by-hash/sha256/"


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One file as it is sent.

    Attributes:
        content: its bytes, or where they lie.
        size_bytes: how many they are.
        etag: their sha256, in quotes.
        modified: as the header Last-Modified has it, or "".
        content_type: as the header has it.
    """

    content: bytes | pathlib.Path
    size_bytes: int
    etag: str
    modified: str = ""
    content_type: str = "application/octet-stream"

    def is_here(self) -> bool:
        """False where a file on the disk went away or changed its size."""
        if isinstance(self.content, bytes):
            return True
        with contextlib.suppress(OSError):
            return self.content.stat().st_size == self.size_bytes
        return False

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, in pieces.

        Raises:
            OSError: the file cannot be read.
        """
        if isinstance(self.content, bytes):
            yield memoryview(self.content)[start:stop]
            return
        with self.content.open("rb") as stream:
            stream.seek(start)
            while start < stop and (piece := stream.read(min(_CHUNK_BYTES, stop - start))):
                start += len(piece)
                yield piece


class HttpServer(http.server.ThreadingHTTPServer):
    """A thread per connection.

    Attributes:
        resources: path -> what is served there.
        title: what they are, for people.
        url: the server's address.
        usage: pairs (sentence, command) for the page; "{base}" stands for the address.
    """

    daemon_threads = True
    request_queue_size = _BACKLOG
    resources: Mapping[str, Resource]
    title: str
    url: str
    usage: Sequence[tuple[str, str]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports an error, unless a client went away or fell silent, which is no event."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """GET and HEAD of what the table has."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server_version = f"fmnist-tfds/{version.VERSION}"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: HttpServer

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
        elif (resource := self._resource(path)) is not None:
            self._send_file(resource, with_body=with_body)
        else:
            text = b"not found: what this server holds is listed at /\n"
            self._send(404, text, "text/plain", with_body=with_body)

    def _resource(self, path: str) -> Resource | None:
        """What the table has for a path; names that hold "%20" as such are asked for either way."""
        held = self.server.resources
        return held.get(path) or held.get(urllib.parse.unquote(path))

    def _path(self) -> str:
        """The path asked for; of another host's address only where stock TFDS has it built in."""
        try:
            parts = urllib.parse.urlsplit(self.path)
        except ValueError:  # such as "//[": no path of ours
            return ""
        if not parts.scheme and not parts.netloc:
            return parts.path
        is_ours = (
            parts.hostname in _built_in_hosts() or f"http://{parts.netloc}/" == self.server.url
        )
        return parts.path if parts.scheme == "http" and is_ours else ""

    def _host(self) -> str:
        host = self.headers.get("Host", "")
        return f"http://{host}/" if _HOST.fullmatch(host) else self.server.url

    def _send_file(self, resource: Resource, *, with_body: bool) -> None:
        fields = {
            "ETag": resource.etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "public, max-age=86400",
        }
        if resource.modified:
            fields["Last-Modified"] = resource.modified
        matches = self.headers.get("If-None-Match", "")
        known = [tag.strip().removeprefix("W/") for tag in matches.split(",")]
        if resource.etag in known or "*" in known:
            self._send(304, b"", "", fields)
            return
        size = resource.size_bytes
        if not resource.is_here():
            self._send(404, b"gone: it was listed when this server began\n", "text/plain")
            return
        span = self._span(size, resource) if self.command == "GET" else None
        start, stop = span or (0, size)
        if span is not None and start >= stop:
            fields["Content-Range"] = f"bytes */{size}"
            self._send(416, b"", "text/plain", fields)
            return
        if span is not None:
            fields["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._head(206 if span else 200, resource.content_type, stop - start, fields)
        if with_body:
            for piece in resource.pieces(start, stop):
                self.wfile.write(piece)

    def _span(self, size: int, resource: Resource) -> tuple[int, int] | None:
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
        body: bytes,
        content_type: str,
        fields: Mapping[str, str] | None = None,
        *,
        with_body: bool = True,
    ) -> None:
        self._head(status, content_type, len(body), fields or {})
        if with_body:
            self.wfile.write(body)

    def _head(self, status: int, content_type: str, size: int, fields: Mapping[str, str]) -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        if status != 304:
            self.send_header("Content-Length", str(size))
        self.send_header("X-Content-Type-Options", "nosniff")
        # An HTTP/1.0 client (ab -k) waits for the end of the connection unless told that it stays.
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002 (http.server's signature)
    ) -> None:
        """A malformed request: one line, and the connection is closed."""
        self.close_connection = True
        self._send(code, f"{code} {message or 'bad request'}\n".encode(), "text/plain")

    def version_string(self) -> str:
        """The Server header."""
        return self.server_version

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: who serves decides what to log."""


def _built_in_hosts() -> set[str | None]:
    mirrors = (url for dataset in catalog.DATASETS.values() for url in dataset.mirrors)
    urls = (urllib.parse.urlsplit(url) for url in mirrors)
    return {url.hostname for url in urls if url.scheme == "http"}


def _page(server: HttpServer, url: str) -> str:
    rows = "".join(
        f'<tr><td><a href="{urllib.parse.quote(path)}">{html.escape(path[1:])}</a></td>'
        f"<td>{item.size_bytes:,}</td><td><code>{item.etag[1:-1]}</code></td></tr>"
        for path, item in server.resources.items()
        if not path.startswith(BY_HASH)
    )
    base = url.rstrip("/") + "/"
    usage = "\n".join(
        f"<p>{html.escape(said)}</p>\n<pre>{html.escape(command.replace('{base}', base))}</pre>"
        for said, command in server.usage
    )
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
{usage}
<table><thead><tr><th>file</th><th>bytes</th><th>sha256</th></tr></thead><tbody>{rows}</tbody></table>
</body></html>
"""
