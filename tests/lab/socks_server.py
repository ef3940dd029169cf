"""A SOCKS5 proxy without authentication that reaches loopback only (RFC 1928)."""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import threading


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        client: socket.socket = self.request
        client.settimeout(120)
        with contextlib.suppress(OSError):
            _, count = self._take(2)
            self._take(count)
            client.sendall(b"\x05\x00")
            _, command, _, kind = self._take(4)
            host = self._host(kind)
            port = int.from_bytes(self._take(2), "big")
            allowed = command == 1 and host in ("127.0.0.1", "localhost")
            client.sendall(bytes((5, 0 if allowed else 2, 0, 1)) + bytes(6))
            if allowed:
                with socket.create_connection(("127.0.0.1", port), timeout=120) as origin:
                    self._forward(client, origin)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.request.recv(count - len(data))
            if not more:
                raise OSError("the client went")
            data += more
        return data

    def _host(self, kind: int) -> str:
        if kind == 1:
            return socket.inet_ntoa(self._take(4))
        return self._take(self._take(1)[0]).decode("ascii")

    @staticmethod
    def _forward(client: socket.socket, origin: socket.socket) -> None:
        pairs = {client: origin, origin: client}
        with selectors.DefaultSelector() as selector:
            for end in pairs:
                selector.register(end, selectors.EVENT_READ)
            while ready := selector.select(120):
                for key, _ in ready:
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    data = end.recv(65536)
                    if not data:
                        return
                    pairs[end].sendall(data)


class SocksServer(socketserver.ThreadingTCPServer):
    """`with SocksServer() as server: f"socks5h://127.0.0.1:{server.port}"`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
