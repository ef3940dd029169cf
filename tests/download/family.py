"""A small data set of the family, and a scripted loopback mirror of it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import random
import threading

from fmnist_tfds import catalog
from fmnist_tfds.formats import idx


def make():
    """A catalog of four small files and their .gz by name."""
    shapes = (("train", "images", (400, 28, 28)), ("train", "labels", (400,)),
              ("test", "images", (50, 28, 28)), ("test", "labels", (50,)))  # fmt: skip
    names = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    files, bodies = [], {}
    for number, (name, (split, kind, shape)) in enumerate(zip(names, shapes, strict=True)):
        size = 1
        for length in shape:
            size *= length
        payload = idx.header(shape) + random.Random(number).randbytes(size)
        body = gzip.compress(payload, 6, mtime=0)
        bodies[name] = body
        files.append(
            catalog.SourceFile(
                name=name,
                split=split,
                kind=kind,
                shape=shape,
                size_bytes=len(body),
                sha256=hashlib.sha256(body).hexdigest(),
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        )
    dataset = catalog.Catalog(
        name="small",
        title="Small",
        files=tuple(files),
        class_names=("a",) * 10,
        license="CC0-1.0",
        tool_folders=catalog.FASHION_MNIST.tool_folders,
    )
    return dataset, bodies


def with_impostor(dataset, impostor):
    return dataclasses.replace(dataset, impostors=(impostor,))


def without_gz(dataset):
    files = tuple(dataclasses.replace(f, size_bytes=0, sha256="") for f in dataset.files)
    return dataclasses.replace(dataset, files=files)


class _Server(http.server.ThreadingHTTPServer):
    # With the usual 5, many connections at once wait a second for the second SYN.
    request_queue_size = 128
    daemon_threads = True


class Mirror:
    """Answers each GET with `answer(handler, name, body)`; remembers paths and headers."""

    def __init__(self, bodies, answer=None):
        self.seen = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                name = self.path.rpartition("/")[2]
                mirror.seen.append((self.path, dict(self.headers)))
                (answer or ranged)(self, name, bodies.get(name))

            def log_message(self, *args):
                """Quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def names(self):
        return [path.rpartition("/")[2] for path, _ in self.seen]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def send(handler, status, body=b"", **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def ranged(handler, name, body):
    """A good mirror with Range."""
    if body is None:
        send(handler, 404, b"no such file")
    elif asked := handler.headers.get("Range"):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            send(handler, 416)
        else:
            where = f"bytes {start}-{len(body) - 1}/{len(body)}"
            send(handler, 206, body[start:], Content_Range=where)
    else:
        send(handler, 200, body)
