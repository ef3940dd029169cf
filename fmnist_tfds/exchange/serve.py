"""A mirror for the rest of the cluster: the four files from memory, or a mirror folder from disk.

It serves those files and nothing else; the four (31 MB) are read once, at the start. As an HTTP
proxy it answers for the address that stock TFDS has built in, and for no other.
"""

from __future__ import annotations

import email.utils
import hashlib
import pathlib
import re
import socket
import threading
from collections.abc import Mapping, Sequence

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.exchange import serve_http

_SHA256 = re.compile(r"[0-9a-f]{64}")

_PASTE = (
    "Paste this line; every byte is checked against pinned digests, so the mirror need not be "
    "trusted:",
    "export FMNIST_TFDS_MIRRORS={base}",
)
_FOLDER = (
    (
        "Any of these data sets, through this mirror; every byte is checked against the digests "
        "that TFDS pins, so the mirror need not be trusted:",
        'with fmnist_tfds.resilient(mirrors="{base}"):\n    tfds.load("NAME")',
    ),
    (
        "Or with TFDS's own command:",
        "FMNIST_TFDS_MIRRORS={base} tfds build NAME --imports=fmnist_tfds.everywhere",
    ),
)


class Server:
    """A running or startable mirror.

    Attributes:
        url: its address, ending in "/".
        port: the TCP port.
    """

    def __init__(
        self,
        address: tuple[str, int],
        resources: Mapping[str, serve_http.Resource],
        title: str,
        usage: Sequence[tuple[str, str]],
    ):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        kind = type("_Bound", (serve_http.HttpServer,), {"address_family": family})
        try:
            self._http: serve_http.HttpServer = kind(address, serve_http.Handler)
        # OverflowError: no port has that number.
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise errors.StoreError(
                f"serve: cannot listen on {address[0]}, port {address[1]}: {said}",
                hint="choose another --host or --port; 0 is a free one",
            ) from error
        self._http.resources, self._http.title, self._http.usage = resources, title, usage
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
        resource = serve_http.Resource(body, len(body), f'"{digest}"', modified, "application/gzip")
        resources["/" + file.name] = resources[serve_http.BY_HASH + digest] = resource
    return Server((host, port), resources, dataset.title, _usage(dataset))


def _usage(dataset: catalog.Catalog) -> list[tuple[str, str]]:
    """What the page says: how a machine takes the four files from here."""
    stock = (
        "Stock TensorFlow Datasets, unchanged, takes this server as its HTTP proxy:",
        "http_proxy={base} python -c 'import tensorflow_datasets as t; "
        f't.load("{dataset.stock_name}")\'',
    )
    by_hand = ("Or by hand:", "curl -O {base}" + dataset.files[0].name)
    return [_PASTE, *([stock] if dataset.stock_name else []), by_hand]


def serve_folder(
    root: pathlib.Path,
    sets: Sequence[artifacts.ArtifactSet],
    host: str = "127.0.0.1",
    port: int = 0,
) -> Server:
    """A server of a mirror folder, bound but not yet answering; what lacks there is not offered.

    Args:
        root: a folder that has its files as by-hash/sha256/HEX.
        sets: which files: those of its manifest.
        host: address to listen on; loopback unless told otherwise.
        port: TCP port; 0 for a free one.

    Raises:
        StoreError: none of the files lies there, or the address cannot be listened on.
    """
    resources: dict[str, serve_http.Resource] = {}
    for each in sets:
        for file in each.files:
            path = root / serve_http.BY_HASH.strip("/") / file.sha256
            # The manifest is not trusted with paths: a digest is all that reaches the disk.
            if not _SHA256.fullmatch(file.sha256) or not path.is_file():
                continue
            resource = serve_http.Resource(path, path.stat().st_size, f'"{file.sha256}"')
            resources[serve_http.BY_HASH + file.sha256] = resource
            resources[f"/{each.name}/{file.name}"] = resource
            resources.setdefault(f"/{file.name}", resource)
    if not resources:
        raise errors.StoreError(
            f"{root}: none of the files of its manifest lies there",
            hint="make it anew: fmnist-tfds mirror create NAME --out=FOLDER",
        )
    return Server((host, port), resources, ", ".join(each.title for each in sets), _FOLDER)
