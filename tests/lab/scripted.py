"""A loopback HTTP server whose every fault is scripted to the byte.

`http://127.0.0.1:PORT/SITUATION/FILE` answers as the function registered under SITUATION says;
`SITUATION~7` is the same for a trial of its own, which counts its requests from 1.
A connection serves one request; what was asked is kept in `log`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping

RST_NOW = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it came in; header names in lower case."""

    situation: str
    name: str
    method: str
    target: str
    headers: Mapping[str, str]
    number: int  # 1 for the first request of this situation, trial and file
    trial: str = ""

    @property
    def offset(self) -> int:
        """First byte asked for by Range; 0 without."""
        value = self.headers.get("range", "")
        return int(value.removeprefix("bytes=").partition("-")[0] or 0) if value else 0


class Reply:
    """What a script can do with a connection."""

    def __init__(self, connection: socket.socket, body: bytes, server: Server) -> None:
        self.connection = connection
        self.body = body
        self.server = server

    def head(self, status: str, headers: Mapping[str, object] | None = None) -> None:
        lines = [f"HTTP/1.1 {status}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def whole(
        self, status: str, body: bytes = b"", headers: Mapping[str, object] | None = None
    ) -> None:
        self.head(status, {"Content-Length": len(body), **(headers or {})})
        self.raw(body)

    def file(self, request: Request, *, cut: int | None = None, ranges: bool = True) -> None:
        """The file as a good mirror serves it; with `cut`, only so many bytes, then RST."""
        start = request.offset if ranges else 0
        body = self.body[start:]
        headers: dict[str, object] = {"Content-Length": len(body), "ETag": '"v1"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        self.head("206 Partial Content" if start else "200 OK", headers)
        if cut is None:
            self.raw(body)
        else:
            self.raw(body[:cut])
            self.reset()

    def reset(self) -> None:
        """Cuts the connection with RST. What was sent is given a moment to be read first."""
        time.sleep(0.05)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_NOW)
        self.connection.close()

    def slowly(self, pieces: Iterator[bytes], pause_s: float) -> None:
        """Sends piece after piece until the client goes or the server closes."""
        for piece in pieces:
            if self.server.closing.wait(pause_s):
                return
            self.raw(piece)

    def silence(self) -> None:
        """Says nothing until the client goes."""
        while self.connection.recv(4096):
            pass


Script = Callable[[Request, Reply], None]


class Server:
    """The server; `with Server(files, scripts) as server: server.base("reset-mid")`."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        scripts: Mapping[str, Script],
        *,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.files = files
        self.scripts = scripts
        self.log: list[Request] = []
        self.closing = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        self._listener = socket.create_server((address, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def base(self, situation: str, host: str = "127.0.0.1") -> str:
        """The mirror URL of one situation."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/{situation}/"

    def asked(self, situation: str, name: str = "") -> list[Request]:
        """The requests of one situation so far."""
        return [r for r in self.log if r.situation == situation and name in ("", r.name)]

    def close(self) -> None:
        """Ends every exchange and waits for its thread: each closes its own connection."""
        self.closing.set()
        # A blocked accept() or recv() is not woken by close() on Linux, but is by shutdown().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own, which changes what its thread is reading with.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._serving:
            thread.join(60)

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # This server is closing; or the client went, or files are short, for a moment.
                self.closing.wait(0.05)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._serving.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that hangs up, and a close() of ours, end the exchange: nothing to report.
        try:
            connection.settimeout(300)
            if self._tls:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            with self._lock:
                self._open.add(connection)
            if self.closing.is_set():
                return
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            request = self._read(connection)
            if request is not None:
                body = self.files.get(request.name, b"")
                script = self.scripts.get(request.situation, _not_found)
                script(request, Reply(connection, body, self))
        except (OSError, ValueError):
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            self._hang_up(connection)

    @staticmethod
    def _hang_up(connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(1)
            while connection.recv(4096):
                pass
        except (OSError, ValueError):
            return
        finally:
            connection.close()

    def _read(self, connection: socket.socket) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None
            data += more
            if data.startswith(b"\x16\x03"):  # a TLS hello on the plain port
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                return None
        first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        path = target.partition("://")[2].partition("/")[2] if "://" in target else target
        where, _, name = path.lstrip("/").partition("/")
        situation, _, trial = where.partition("~")
        pairs = (line.partition(":") for line in lines)
        headers = {key.strip().lower(): value.strip() for key, _, value in pairs}
        with self._lock:
            number = 1 + sum(r.trial == trial for r in self.asked(situation, name))
            request = Request(situation, name, method, target, headers, number, trial)
            self.log.append(request)
        return request


def _not_found(request: Request, reply: Reply) -> None:
    reply.whole("404 Not Found", b"no such situation")
