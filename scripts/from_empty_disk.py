#!/usr/bin/env python
"""From an empty disk in a bad network to a trained model, beside stock TFDS and Keras there.

    python scripts/from_empty_disk.py --files=DIR --config=configs/speedrun.toml

The network is on loopback, of real parts (nginx, squid, openssl). Plain HTTP ends at a captive
portal; TLS is opened and signed again by a proxy whose authority nobody trusts yet. Of the four
mirrors the first is the portal, the second refuses connections, the third accepts them and is
silent; the fourth, an nginx with the genuine files of DIR, stands behind that proxy. Ours is told
so by a TOML file; the stock tools, which have none, get the same proxies by http_proxy and
https_proxy. Nothing leaves this machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import parts  # noqa: E402

PAGE = b"<html><head><title>Guest WiFi: please log in</title></head><body>Log in</body></html>"
HOST = "mirror.test"  # known to the proxy alone: no name service is asked
STOCK = {
    "stock TFDS": "import tensorflow_datasets as t; t.load('fashion_mnist', data_dir='stock')",
    "stock Keras": "import keras; keras.datasets.fashion_mnist.load_data()",
}


class Portal(http.server.BaseHTTPRequestHandler):
    """Answers whatever is asked, of whichever host, with its page."""

    def do_GET(self) -> None:  # noqa: D102
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Keeps the terminal for the figures."""


def main() -> int:
    """Parses, builds the network, runs all three, prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", required=True, type=pathlib.Path, help="folder of the four .gz")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs" / "speedrun.toml")
    parser.add_argument("--limit_s", type=float, default=60, help="for each stock tool")
    arguments = parser.parse_args()
    lacking = [why for part in ("nginx", "squid", "openssl") if (why := parts.missing(part))]
    if lacking:
        print(", ".join(lacking), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="from-empty-disk-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with network(folder, arguments.files.resolve()) as (environment, mirrors):
            rows = [ours(folder, environment, mirrors, arguments.config.resolve())]
            rows += [
                stock(tool, code, folder, environment, arguments.limit_s)
                for tool, code in STOCK.items()
            ]
    for row in rows:
        print(f"{row['who']}: {row['outcome']}, {row['seconds']:.0f} s")
        print("".join(f"    {line}\n" for line in row["said"]), end="")
    print(json.dumps(rows))
    return 0 if rows[0]["accuracy"] else 1


@contextlib.contextmanager
def network(
    folder: pathlib.Path, files: pathlib.Path
) -> Iterator[tuple[dict[str, str], pathlib.Path]]:
    """The environment of a user in it, with an empty home, and the TOML file of the mirrors."""
    site, inspection = (
        parts.Authority(folder, name) for name in ("Mirror Root", "Corp Inspection CA")
    )
    with contextlib.ExitStack() as stack:
        portal = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
        stack.callback(portal.server_close)
        stack.callback(portal.shutdown)
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        closed = stack.enter_context(parts.held_port())
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        served = folder / "nginx"
        served.mkdir()
        mirror = stack.enter_context(parts.nginx(served, files, site.issue(HOST)))
        between = folder / "squid"
        between.mkdir()
        proxy = stack.enter_context(
            parts.squid_bump(between, inspection, site.certificate, f"127.0.0.1 {HOST}\n")
        )
        urls = {
            "portal": f"http://127.0.0.1:{portal.server_port}/fashion-mnist/",
            "dead": f"http://127.0.0.1:{closed}/",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}/",
        }
        toml = folder / "mirrors.toml"
        toml.write_text(
            'order = "portal, dead, silent, genuine"\n'
            + "".join(
                f'[[mirrors]]\nname = "{n}"\nurl = "{url}"\nproxy = ""\n' for n, url in urls.items()
            )
            + f'[[mirrors]]\nname = "genuine"\nurl = "https://{HOST}:{mirror.port}/data/"\n'
            f'proxy = "{proxy.url}"\nca_bundle = "{inspection.certificate}"\n'
        )
        home = folder / "home"
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR")}
        yield (
            {
                **kept,
                "HOME": str(home),
                "http_proxy": f"http://127.0.0.1:{portal.server_port}",
                "https_proxy": proxy.url,
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            toml,
        )


def ours(
    folder: pathlib.Path, environment: dict[str, str], mirrors: pathlib.Path, config: pathlib.Path
) -> dict[str, object]:
    """Builds and trains as the README says; the last lines of both are kept."""
    build = [sys.executable, "-m", "fmnist_tfds", "build", f"--config_file={mirrors}"]
    workdir = folder / "run"
    train = [sys.executable, str(ROOT / "scripts" / "train.py"), f"--config={config}"]
    started, said = time.monotonic(), []
    for command in (build, [*train, f"--workdir={workdir}"]):
        done = _run([*command, f"--data_dir={folder / 'tfds'}"], folder, environment, 600)
        said += _last(done.stdout if done.returncode == 0 else done.stderr, 2)
        if done.returncode:
            return _row("fmnist_tfds", "fails", started, said)
    accuracy = json.loads((workdir / "metrics.json").read_text("utf-8"))["test_accuracy"]
    return _row("fmnist_tfds", f"trained to {accuracy:.2%}", started, said, accuracy)


def stock(
    tool: str, code: str, folder: pathlib.Path, environment: dict[str, str], limit_s: float
) -> dict[str, object]:
    """The stock tool's own call, ended after `limit_s` seconds."""
    started = time.monotonic()
    try:
        done = _run([sys.executable, "-c", code], folder, environment, limit_s)
    except subprocess.TimeoutExpired:
        return _row(tool, f"still hanging after {limit_s:.0f} s", started, [])
    outcome = "fails" if done.returncode else "the data arrives"
    told = [line for line in done.stderr.splitlines() if re.match(r"\S*(Error|Exception)\b", line)]
    return _row(tool, outcome, started, _last("\n".join(told), 1) if done.returncode else [])


def _run(
    command: list[str], folder: pathlib.Path, environment: dict[str, str], limit_s: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def _last(text: str, count: int) -> list[str]:
    return [line[:200] for line in text.strip().splitlines()[-count:]]


def _row(
    who: str, outcome: str, started: float, said: list[str], accuracy: float = 0.0
) -> dict[str, object]:
    seconds = time.monotonic() - started
    return {"who": who, "outcome": outcome, "seconds": seconds, "said": said, "accuracy": accuracy}


if __name__ == "__main__":
    sys.exit(main())
