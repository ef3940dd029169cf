"""One laboratory: a small data set, its servers, and the real parts, started when asked for."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import itertools
import pathlib
import random
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import faults
import parts
import scripted
import socks_server

from fmnist_tfds import artifacts, catalog
from fmnist_tfds.config import settings

GOOD_HOST = "mirror.example"


def _payload(shape: tuple[int, ...], seed: int) -> bytes:
    magic = bytes((0, 0, 8, len(shape)))
    count = 1
    for size in shape:
        count *= size
    head = magic + b"".join(size.to_bytes(4, "big") for size in shape)
    return head + random.Random(seed).randbytes(count)


def make_dataset(train: int = 300, test: int = 60) -> tuple[catalog.Catalog, dict[str, bytes]]:
    """A small data set of the family: its catalog entry and the four .gz; under "impostor/NAME"
    stand four files of another one, which the catalog knows as an impostor."""
    files, bodies, digests = [], {}, set()
    for seed, real in enumerate(catalog.FASHION_MNIST.files):
        shape = (train if real.split == "train" else test, *real.shape[1:])
        payload = _payload(shape, seed)
        body = gzip.compress(payload, 6, mtime=0)
        other = gzip.compress(_payload(shape, seed + 100), 6, mtime=0)
        digests.add(("sha256", hashlib.sha256(other).hexdigest()))
        bodies |= {real.name: body, "impostor/" + real.name: other}
        files.append(
            catalog.SourceFile(
                name=real.name,
                split=real.split,
                kind=real.kind,
                shape=shape,
                size_bytes=len(body),
                sha256=hashlib.sha256(body).hexdigest(),
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        )
    dataset = catalog.Catalog(
        name="lab",
        title="the laboratory's data set",
        files=tuple(files),
        class_names=catalog.FASHION_MNIST.class_names,
        mirrors=(),
        impostors=(artifacts.Impostor("impostor:other", "another data set", frozenset(digests)),),
    )
    return dataset, bodies


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """For the time of the block no name but localhost is looked up, and nothing else connected
    to: a resolver without network says the same."""
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def guarded(host: Any, *rest: Any, **options: Any) -> Any:
        name = str(host or "localhost")
        if name != "localhost" and not re.fullmatch(r"127\.[0-9.]+", name):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **options)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        # localhost may be ::1 first.
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1")):
            raise AssertionError(f"the laboratory tried to reach {address}")
        connect(self, address)

    socket.getaddrinfo = guarded
    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.getaddrinfo = look_up
        socket.socket.connect = connect  # type: ignore[method-assign]


class Lab:
    """Starts parts on demand and closes them all; safe to ask from several threads."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.dataset, self.files = make_dataset()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(loopback_only())
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._trials = itertools.count(1)
        self.data = self.subfolder("data")
        for name, body in self.files.items():
            if not name.startswith("impostor/"):
                (self.data / name).write_bytes(body)
        self.server = self._stack.enter_context(scripted.Server(self.files, faults.SCRIPTS))
        self.second = self._stack.enter_context(scripted.Server(self.files, faults.SCRIPTS))

    def close(self) -> None:
        self._stack.close()

    def subfolder(self, name: str) -> pathlib.Path:
        path = self.folder / name
        path.mkdir(parents=True)
        path.chmod(0o755)
        return path

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def _part(self, name: str, make: Callable[[pathlib.Path], parts.Part]) -> parts.Part:
        start = lambda: self._stack.enter_context(make(self.subfolder(name)))  # noqa: E731
        part: parts.Part = self._once(name, start)
        return part

    # --- mirrors ---------------------------------------------------------------------------------

    def fault(self, situation: str, **options: Any) -> settings.Mirror:
        """The mirror that shows one scripted fault, as if nobody had asked it before."""
        trial = f"{situation}~{next(self._trials)}"
        return settings.Mirror(url=self.server.base(trial), **options)

    def good(self) -> settings.Mirror:
        """A mirror without any fault, on another port."""
        return settings.Mirror(url=self.second.base(f"ok~{next(self._trials)}"))

    @property
    def closed_port(self) -> int:
        """A loopback port that refuses connections."""
        port: int = self._once("closed", lambda: self._stack.enter_context(parts.held_port()))
        return port

    def asked(self, mirror: settings.Mirror) -> list[scripted.Request]:
        """The requests that one mirror of `fault` or `good` has had."""
        trial = mirror.url.rstrip("/").rpartition("~")[2]
        return [r for r in (*self.server.log, *self.second.log) if r.trial == trial]

    def tls_server(self, kind: str) -> scripted.Server:
        """A scripted server behind TLS: good, unknown, expired, wrong-host, self-signed or
        wants-a-client-certificate."""

        def start() -> scripted.Server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate(kind))
            if kind == "wants-a-client-certificate":
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.authority.certificate)
            return self._stack.enter_context(
                scripted.Server(self.files, faults.SCRIPTS, tls=context)
            )

        server: scripted.Server = self._once(f"tls {kind}", start)
        return server

    def _certificate(self, kind: str) -> tuple[pathlib.Path, pathlib.Path]:
        if kind == "self-signed":
            return self.unknown_authority.certificate, self.unknown_authority.key
        authority = self.unknown_authority if kind == "unknown" else self.authority
        alternative = "DNS:other.example" if kind == "wrong-host" else ""
        made = authority.issue(
            f"{kind}.lab.test", expired=kind == "expired", alternative=alternative
        )
        return made.chain, made.key

    @property
    def client_certificate(self) -> pathlib.Path:
        """Certificate and key of a client, in one PEM file."""

        def make() -> pathlib.Path:
            issued = self.authority.issue("client.lab.test", client=True)
            path = self.folder / "client.pem"
            path.write_text(issued.chain.read_text() + issued.key.read_text())
            return path

        made: pathlib.Path = self._once("client", make)
        return made

    @property
    def authority(self) -> parts.Authority:
        """The authority that the laboratory's clients may trust."""
        made: parts.Authority = self._once(
            "good ca", lambda: parts.Authority(self.subfolder("ca"), "Lab Root")
        )
        return made

    @property
    def unknown_authority(self) -> parts.Authority:
        made: parts.Authority = self._once(
            "bad ca", lambda: parts.Authority(self.subfolder("unknown-ca"), "Nobody Knows Me")
        )
        return made

    @property
    def inspection(self) -> parts.Authority:
        made: parts.Authority = self._once(
            "inspection", lambda: parts.Authority(self.subfolder("mitm"), "Corp Inspection CA")
        )
        return made

    # --- real parts ------------------------------------------------------------------------------

    @property
    def nginx(self) -> parts.Part:
        return self._part("nginx", lambda folder: parts.nginx(folder, self.data))

    @property
    def nginx_tls(self) -> parts.Part:
        def make(folder: pathlib.Path) -> parts.Part:
            return parts.nginx(folder, self.data, self.authority.issue(GOOD_HOST))

        return self._part("nginx-tls", make)

    @property
    def squid(self) -> parts.Part:
        return self._part("squid", parts.squid)

    @property
    def squid_password(self) -> parts.Part:
        def make(folder: pathlib.Path) -> parts.Part:
            return parts.squid(folder, rules=parts.squid_password_rules(folder))

        return self._part("squid-password", make)

    @property
    def squid_denying(self) -> parts.Part:
        make = functools.partial(parts.squid, rules="http_access deny all")
        return self._part("squid-denying", make)

    @property
    def squid_bump(self) -> parts.Part:
        def make(folder: pathlib.Path) -> parts.Part:
            hosts = f"127.0.0.1 {GOOD_HOST} localhost\n"
            return parts.squid_bump(folder, self.inspection, self.authority.certificate, hosts)

        return self._part("squid-bump", make)

    @property
    def tinyproxy(self) -> parts.Part:
        return self._part("tinyproxy", parts.tinyproxy)

    @property
    def tinyproxy_filtering(self) -> parts.Part:
        make = functools.partial(parts.tinyproxy, filtered="127.0.0.1")
        return self._part("tinyproxy-filtering", make)

    @property
    def haproxy(self) -> parts.Part:
        ports = {"origin_port": self.server.port, "closed_port": self.closed_port}
        make = functools.partial(parts.haproxy, **ports)
        return self._part("haproxy", make)

    @property
    def socks(self) -> socks_server.SocksServer:
        """A SOCKS5 proxy."""
        made: socks_server.SocksServer = self._once(
            "socks", lambda: self._stack.enter_context(socks_server.SocksServer())
        )
        return made

    @property
    def windows_proxy(self) -> scripted.Server:
        """A proxy that offers NTLM and Negotiate only, to GET and CONNECT alike."""

        def refuse(request: scripted.Request, reply: scripted.Reply) -> None:
            headers: Mapping[str, object] = {"Proxy-Authenticate": "NTLM, Negotiate"}
            reply.whole("407 Proxy Authentication Required", b"", headers)

        class Any407(dict[str, scripted.Script]):
            def get(self, key: str, default: Any = None) -> Any:
                return refuse

        make = lambda: self._stack.enter_context(scripted.Server({}, Any407()))  # noqa: E731
        server: scripted.Server = self._once("windows proxy", make)
        return server
