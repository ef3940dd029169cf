"""A certificate authority, a mirror over TLS and a forward proxy, all on 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.parse

import family
import pytest


def _openssl(command, *more):
    subprocess.run(["openssl", *command.split(), *more], check=True, capture_output=True)


class Authority:
    """An authority of its own; what it issues lies in PEM files that hold the key as well."""

    def __init__(self, folder: pathlib.Path, organisation: str) -> None:
        if not shutil.which("openssl"):
            pytest.skip("needs openssl")
        folder.mkdir()
        self._folder = folder
        self.bundle = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30",
            *("-keyout", str(self._key), "-out", str(self.bundle)),
            *("-subj", f"/O={organisation}/CN={organisation} CA"),
        )

    def issue(self, name: str) -> pathlib.Path:
        """A certificate for `name`, 127.0.0.1 and localhost, good for servers and clients."""
        request, certificate = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        key, extensions = self._folder / f"{name}.key", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n")
        _openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes",
            *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}"),
        )
        _openssl(
            "x509 -req -days 30 -set_serial 7",
            *("-in", str(request), "-CA", str(self.bundle), "-CAkey", str(self._key)),
            *("-extfile", str(extensions), "-out", str(certificate)),
        )
        with certificate.open("a") as pem:
            pem.write(key.read_text())
        return certificate


class TlsMirror(family.Mirror):
    """A mirror over TLS; `clients` holds the name in the certificate of each request, or None."""

    def __init__(self, bodies, certificate, *, clients_of=None, answer=None):
        self.clients = []

        def noting(handler, name, body):
            shown = handler.connection.getpeercert() or {}
            subject = dict(pair for group in shown.get("subject", ()) for pair in group)
            self.clients.append(subject.get("commonName"))
            (answer or family.ranged)(handler, name, body)

        super().__init__(bodies, noting)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if clients_of is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(clients_of)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        # A client that refuses the certificate is no error of this server.
        self._server.handle_error = lambda *args: None
        self.url = self.url.replace("http:", "https:")


class Proxy:
    """A forward proxy that remembers (request line, Proxy-Authorization) and reaches any name at
    the port of `origin`: names that no resolver knows are served by 127.0.0.1."""

    def __init__(self, origins, refuse=None):
        self.seen = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self):
                proxy.seen.append((f"CONNECT {self.path}", self.headers["Proxy-Authorization"]))
                self.close_connection = True
                if refuse is not None:
                    refuse(self)
                    return
                origin = origins[self.path]
                with socket.create_connection(("127.0.0.1", origin)) as there:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=_pump, args=(there, self.connection))
                    back.start()
                    _pump(self.connection, there)
                    back.join()

            def do_GET(self):
                proxy.seen.append((f"GET {self.path}", self.headers["Proxy-Authorization"]))
                if refuse is not None:
                    refuse(self)
                    return
                parts = urllib.parse.urlsplit(self.path)
                origins[f"{parts.hostname}:{parts.port or 80}"](self, parts.path)

            def log_message(self, *args):
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def port_of(mirror):
    return urllib.parse.urlsplit(mirror.url).port
