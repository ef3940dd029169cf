"""Mirrors of a set rate, in every order: how long all files take beside the best mirror alone.

    python scripts/fault_lab.py --paced --no_matrix --data FOLDER

Each mirror keeps its rate for all its connections together; one line may bound them all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import pathlib
import threading
import time
from collections.abc import Iterator, Sequence

import trial

from fmnist_tfds import catalog, obtain
from fmnist_tfds.config import settings

# Name, rates of the mirrors in their order (bytes/s; 0: as fast as loopback, None: black hole).
CASES: tuple[tuple[str, tuple[int | None, ...]], ...] = (
    ("5 MB/s alone", (5_000_000,)),
    ("20 kB/s, then 5 MB/s", (20_000, 5_000_000)),
    ("400 kB/s, then 5 MB/s", (400_000, 5_000_000)),
    ("20 kB/s, 400 kB/s, then 5 MB/s", (20_000, 400_000, 5_000_000)),
    ("400 kB/s, 20 kB/s, then 5 MB/s", (400_000, 20_000, 5_000_000)),
    ("three of 20 to 40 kB/s, then 5 MB/s", (20_000, 30_000, 40_000, 5_000_000)),
    ("closed, then 5 MB/s", (None, 5_000_000)),
    ("5 MB/s, then 20 kB/s", (5_000_000, 20_000)),
    ("2 MB/s alone", (2_000_000,)),
    ("two of 2 MB/s", (2_000_000, 2_000_000)),
)


class _Bucket:
    def __init__(self, rate: int) -> None:
        self._rate, self._lock, self._next = rate, threading.Lock(), time.monotonic()

    def take(self, count: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now) + count / self._rate
            wait_s = self._next - now
        time.sleep(max(0.0, wait_s))


@contextlib.contextmanager
def mirror(folder: pathlib.Path, rate: int) -> Iterator[str]:
    """The URL of a loopback mirror of `folder` that sends `rate` bytes a second in all."""
    bucket = _Bucket(rate)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / self.path.rpartition("/")[2]
            if not path.is_file():
                self.send_error(404)
                return
            body, (start, stop) = path.read_bytes(), (0, path.stat().st_size)
            if asked := self.headers.get("Range"):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, stop = int(first), int(last) + 1 if last else stop
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            step = max(512, min(16_384, rate // 20)) if rate else 1 << 18
            try:
                for at in range(start, stop, step):
                    piece = body[at : min(at + step, stop)]
                    bucket.take(len(piece))
                    self.wfile.write(piece)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def seconds(data: pathlib.Path, rates: Sequence[int | None], cache: pathlib.Path) -> float:
    """How long `obtain` takes for all files from mirrors of these rates; inf where it fails."""
    network = dataclasses.replace(trial.NETWORK, hedge_after_s=3.0, connect_timeout_s=5.0)
    with contextlib.ExitStack() as stack:
        urls = [
            # The discard port of loopback: nobody listens there.
            "http://127.0.0.1:9/" if rate is None else stack.enter_context(mirror(data, rate))
            for rate in rates
        ]
        options = settings.Settings(tuple(map(settings.Mirror, urls)), cache, network)
        start = time.monotonic()
        result = obtain.obtain(options, dataset=catalog.FASHION_MNIST)
        return time.monotonic() - start if result.error is None else float("inf")
