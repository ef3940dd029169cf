"""Kill, stampede and speed: what one call of `obtain` cannot show.

Children are forked from this process, which therefore must not run threads of its own: servers
are processes (nginx).
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import laboratory
import parts
import trial

from fmnist_tfds import catalog, obtain
from fmnist_tfds.config import loader, settings
from fmnist_tfds.download.transport import credentials, request, transfer, watching


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    path = pathlib.Path(tempfile.mkdtemp(prefix="fault-lab-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def _mirror(
    folder: pathlib.Path, real: pathlib.Path | None
) -> Iterator[tuple[parts.Part, catalog.Catalog, pathlib.Path]]:
    """nginx with the real files where they are at hand, else the laboratory's."""
    dataset, data = catalog.FASHION_MNIST, real
    if data is None:
        dataset, bodies = laboratory.make_dataset(train=4000, test=1000)
        data = folder / "data"
        data.mkdir()
        for name, body in bodies.items():
            if "/" not in name:
                (data / name).write_bytes(body)
    (folder / "nginx").mkdir(mode=0o755)
    with parts.nginx(folder / "nginx", data) as nginx:
        yield nginx, dataset, data


def _child(effective: settings.Settings, dataset: catalog.Catalog) -> None:
    """What a forked child does: obtain, then leave without the parent's clean-up."""
    code = 1
    try:
        code = 1 if obtain.obtain(effective, dataset=dataset).error else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


# --- kill ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Kills:
    """What came of killing a fetch again and again.

    Attributes:
        killed: children that died by SIGKILL while they ran.
        finished: children that had ended before they were to be killed.
        completed: times that a run after kills had all four files, verified.
        resumed: requests with a Range, so parts that were used again.
        wrong: what was wrong, with the number of the kill.
        seconds: wall clock of all.
    """

    killed: int = 0
    finished: int = 0
    completed: int = 0
    resumed: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def kill(count: int, seed: int = 0, longest_s: float = 1.0) -> Kills:
    """Kills `count` running fetches with SIGKILL at random moments. Four caches in turn; each is
    looked at after every kill, and after every fifth kill the next run must complete it."""
    result, dice = Kills(), random.Random(seed)
    start = time.monotonic()
    with _folder() as folder, _mirror(folder, None) as (nginx, dataset, _):
        mirrors = [settings.Mirror(url=nginx.url + "slow/")]
        cache, number = folder / "cache0", 0
        while result.killed < count and result.finished < 5 * count:
            effective = trial.settings_for(mirrors, cache, deadline_s=30.0, read_timeout_s=5.0)
            pid = os.fork()
            if pid == 0:
                _child(effective, dataset)
            # Half of the kills fall into the busy first moments, half anywhere.
            time.sleep(dice.uniform(0.0, dice.choice((0.1, longest_s))))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                result.killed += 1
            else:
                result.finished += 1
            for wrong in trial.leftovers(cache, dataset):
                result.wrong.append(f"kill {result.killed}: {wrong}")
            if result.killed % 5 == 0 or not os.WIFSIGNALED(status):
                outcome = _complete(effective, dataset, cache)
                result.wrong += [f"after kill {result.killed}: {w}" for w in outcome]
                result.completed += not outcome
                shutil.rmtree(cache)
                number += 1
                cache = folder / f"cache{number}"
        log = (folder / "nginx" / "access.log").read_text()
        result.resumed = log.count('" 206 ')
    result.seconds = time.monotonic() - start
    return result


def _complete(
    effective: settings.Settings, dataset: catalog.Catalog, cache: pathlib.Path
) -> list[str]:
    """Runs once more to the end in a child; what is wrong then."""
    pid = os.fork()
    if pid == 0:
        _child(effective, dataset)
    _, status = os.waitpid(pid, 0)
    wrong = trial.leftovers(cache, dataset)
    if os.waitstatus_to_exitcode(status) != 0:
        wrong.append("the next run failed")
    found = {path.name for path in cache.rglob("*.gz")}
    wrong += [f"{file.name} is missing" for file in dataset.files if file.name not in found]
    return wrong


# --- stampede -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Stampede:
    """Many processes at once on an empty cache.

    Attributes:
        processes: how many.
        succeeded: how many had the four files.
        requests: requests at the mirror by file name.
        seconds: until the last one was done.
        real: whether the files were the real ones.
    """

    processes: int
    succeeded: int
    requests: dict[str, int]
    seconds: float
    real: bool
    wrong: list[str]


def stampede(processes: int, real: pathlib.Path | None) -> Stampede:
    """`processes` children ask for the same four files in the same moment."""
    context = multiprocessing.get_context("fork")
    with _folder() as folder, _mirror(folder, real) as (nginx, dataset, _):
        cache = folder / "cache"
        mirrors = [settings.Mirror(url=nginx.url + "data/")]
        effective = trial.settings_for(mirrors, cache, deadline_s=60.0, read_timeout_s=20.0)
        effective = dataclasses.replace(
            effective, network=dataclasses.replace(effective.network, hedge_after_s=3.0)
        )
        gate = context.Barrier(processes + 1)
        pids = []
        for _ in range(processes):
            pid = os.fork()
            if pid == 0:
                gate.wait()
                _child(effective, dataset)
            pids.append(pid)
        gate.wait()
        start = time.monotonic()
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        seconds = time.monotonic() - start
        log = (folder / "nginx" / "access.log").read_text()
        requests = {file.name: log.count(f"/{file.name} ") for file in dataset.files}
        wrong = trial.leftovers(cache, dataset)
    return Stampede(processes, codes.count(0), requests, seconds, real is not None, wrong)


# --- speed --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Speed:
    """Median seconds for the largest file, and for what.

    Attributes:
        size_bytes: its size.
        curl_s: `curl -o` into the same file system, its whole process.
        curl_verified_s: the same and `sha256sum` of the file.
        transfer_s: our transfer alone into a part file, nothing verified, nothing synced.
        ours_s: `obtain` of this one file in this process: transfer, sha256, fsync, publish.
    """

    size_bytes: int
    curl_s: float
    curl_verified_s: float
    transfer_s: float
    ours_s: float


def speed(real: pathlib.Path | None, repeats: int = 7) -> Speed:
    """Times the largest file from nginx on loopback, in turns."""
    with _folder() as folder, _mirror(folder, real) as (nginx, dataset, _):
        largest = max(dataset.files, key=lambda file: file.size_bytes)
        one = dataclasses.replace(dataset, files=(largest,))
        url = nginx.url + "data/"
        times: dict[str, list[float]] = {
            "curl": [],
            "verified": [],
            "transfer": [],
            "ours": [],
        }
        for number in range(repeats):
            target = folder / f"curl{number}"
            start = time.perf_counter()
            subprocess.run(
                ["curl", "-sS", "-o", str(target), url + largest.name], check=True, timeout=60
            )
            times["curl"].append(time.perf_counter() - start)
            subprocess.run(["sha256sum", str(target)], check=True, capture_output=True)
            times["verified"].append(time.perf_counter() - start)
            mirror = settings.Mirror(url=url)
            effective = trial.settings_for([mirror], folder / f"cache{number}")
            part = folder / f"part{number}"
            order = request.Request(
                largest, mirror, effective, part, one, credentials.Secrets(loader.resolve_secret)
            )
            start = time.perf_counter()
            transfer.run(order, watching.Watch())
            times["transfer"].append(time.perf_counter() - start)
            start = time.perf_counter()
            obtain.obtain(effective, dataset=one)
            times["ours"].append(time.perf_counter() - start)
    medians = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    return Speed(
        largest.size_bytes,
        medians["curl"],
        medians["verified"],
        medians["transfer"],
        medians["ours"],
    )
