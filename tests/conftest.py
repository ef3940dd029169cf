"""Fixtures for every test: the socket guard, the real data, loopback mirrors, clean settings."""

from __future__ import annotations

import functools
import gc
import http.server
import importlib.util
import ipaddress
import logging
import os
import pathlib
import socket
import threading
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from absl import logging as absl_logging

from fmnist_tfds import catalog

# The same examples on every run, and no clock: a slow machine is no failure of the code.
hypothesis.settings.register_profile(
    "house",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")

_REPO = pathlib.Path(__file__).resolve().parent.parent
_DATA = pathlib.Path(
    os.environ.get("FMNIST_TFDS_TEST_DATA") or _REPO.parent / "shared" / "fashion-mnist"
)
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# The markers of tests that need more than the extra `test` brings, and what each imports.
_NEEDS = {
    "needs_build": ("apache_beam", "mlcroissant"),
    "needs_docs": ("mkdocs", "material", "mkdocstrings"),
    "needs_jax": ("jax",),
    "needs_torch": ("torch",),
}


def pytest_collection_finish() -> None:
    """Spares the collector the 400,000 objects that stay: TensorFlow's and the tests' own."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a marked test where its packages are not installed: .ci/run then runs it elsewhere."""
    for marker in item.iter_markers():
        for package in _NEEDS.get(marker.name, ()):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{marker.name}: {package} is not installed")


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _socket_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test opens a socket, or looks up a name, beyond this machine."""
    connect, connect_ex, getaddrinfo = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def check(address: object) -> None:
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise AssertionError(f"a test tried to reach {address}")

    def guarded_connect(self, address):
        check(address)
        return connect(self, address)

    def guarded_connect_ex(self, address):
        check(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _is_loopback(name):
            # What a resolver without network says; never asks a real one.
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The user's own settings do not reach the tests; the cache is a fresh folder."""
    for name in list(os.environ):
        if name.startswith("FMNIST_TFDS_") or name.lower() in _PROXY_VARIABLES:
            monkeypatch.delenv(name)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FMNIST_TFDS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    # Subprocesses are beyond the socket guard: they have no network unless a test names mirrors.
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "off")
    # Nearly all of the time of tests with JAX goes into XLA's compiling.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.fixture(autouse=True)
def _same_logging() -> Iterator[None]:
    """What the command line sets up in this process does not reach the next test."""
    root, ours = logging.getLogger(), logging.getLogger("fmnist_tfds")
    handlers, levels, verbosity = (
        root.handlers[:],
        (root.level, ours.level),
        absl_logging.get_verbosity(),
    )
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    absl_logging.set_verbosity(verbosity)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder with the four canonical .gz; skips where they are not at hand."""
    missing = [f.name for f in catalog.FASHION_MNIST.files if not (_DATA / f.name).is_file()]
    if missing:
        pytest.skip(
            f"the real data is not at hand: {', '.join(missing)} not in {_DATA}; "
            "set FMNIST_TFDS_TEST_DATA to its folder"
        )
    return _DATA


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        self.server.requests_seen.append(self.path)  # type: ignore[attr-defined]


class LoopbackMirror:
    """A plain HTTP server of one folder on 127.0.0.1; remembers the paths asked for."""

    def __init__(self, folder: pathlib.Path) -> None:
        handler = functools.partial(_QuietHandler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.requests_seen = self.requests = []  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        # Looks every 0.05 s whether it is to end: a test waits as long for its mirror to close.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def real_mirror(real_data: pathlib.Path) -> Iterator[LoopbackMirror]:
    """A loopback HTTP mirror of the real files."""
    mirror = LoopbackMirror(real_data)
    yield mirror
    mirror.close()


@pytest.fixture
def loopback() -> Iterator[Callable[[pathlib.Path], LoopbackMirror]]:
    """Starts loopback HTTP mirrors of folders."""
    started: list[LoopbackMirror] = []

    def start(folder: pathlib.Path) -> LoopbackMirror:
        started.append(LoopbackMirror(folder))
        return started[-1]

    yield start
    for mirror in started:
        mirror.close()


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty home: no other tool's files are found, and none of the user's are written."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in (
        *(
            "KERAS_HOME",
            "TFDS_DATA_DIR",
            "HF_HOME",
            "HF_HUB_CACHE",
            "HF_DATASETS_CACHE",
            "XDG_CACHE_HOME",
        ),
        *("SCIKIT_LEARN_DATA", "KAGGLEHUB_CACHE"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port that refuses connections: held, so that nobody else is given it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.fixture
def small_data(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with a small data set that the builder takes for the real one."""
    import small_dataset

    from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient

    folder = tmp_path / "small"
    monkeypatch.setattr(resilient.Builder, "DATASET", small_dataset.write(folder))
    return folder
