"""Situations that need more than a list of mirrors: the store, the policy, lost packets.

Each is a function (lab, folder) -> rows of the table.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import laboratory
import parts
import trial

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import settings

Lab = laboratory.Lab
Row = trial.Row
HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Special:
    """One special situation."""

    name: str
    group: str
    run: Callable[[Lab, pathlib.Path], Row]
    needs: tuple[str, ...] = ()


ALL: list[Special] = []


def _special(
    group: str, name: str, *needs: str
) -> Callable[[Callable[[Lab, pathlib.Path], Row]], Callable[[Lab, pathlib.Path], Row]]:
    def register(
        function: Callable[[Lab, pathlib.Path], Row],
    ) -> Callable[[Lab, pathlib.Path], Row]:
        run = lambda lab, folder: dataclasses.replace(  # noqa: E731
            function(lab, folder), group=group, name=name
        )
        ALL.append(Special(name, group, run, needs))
        return function

    return register


def _go(
    lab: Lab,
    cache: pathlib.Path,
    mirrors: list[settings.Mirror],
    *causes: str,
    offline: bool = False,
    **network: object,
) -> Row:
    effective = dataclasses.replace(trial.settings_for(mirrors, cache, **network), offline=offline)
    outcome = trial.obtain_files(effective, lab.dataset)
    ends = causes or ("ok",)
    return trial.judge("", "", outcome, causes=ends, cache_dir=cache, dataset=lab.dataset)


def _and(row: Row, claim: bool, otherwise: str) -> Row:
    """The row, wrong if `claim` does not hold."""
    return row if claim else dataclasses.replace(row, wrong=(*row.wrong, otherwise))


def _cached(cache: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    return (path for path in cache.rglob(name) if path.is_file())


# --- the store ----------------------------------------------------------------------------------


@_special("store", "second run, all cached: no request")
def all_cached(lab: Lab, folder: pathlib.Path) -> Row:
    _go(lab, folder, [lab.fault("ok")])
    mirror = lab.fault("404")
    row = _go(lab, folder, [mirror])
    return _and(row, not lab.asked(mirror), f"{len(lab.asked(mirror))} requests")


def _damage(lab: Lab, folder: pathlib.Path, damage: Callable[[bytes], bytes]) -> Row:
    _go(lab, folder, [lab.fault("ok")])
    for file in lab.dataset.files:
        for path in _cached(folder, file.name):
            path.chmod(0o644)
            written_ns = path.stat().st_mtime_ns
            path.write_bytes(damage(path.read_bytes()))
            # The clock of a file system ticks slowly: damaged in the same tick would go unseen.
            os.utime(path, ns=(written_ns, written_ns + 1_000_000_000))
    return _go(lab, folder, [lab.fault("ok")])


@_special("store", "cached files corrupted, same size")
def corrupted(lab: Lab, folder: pathlib.Path) -> Row:
    return _damage(lab, folder, lambda body: body[:-9] + bytes(9))


@_special("store", "cached files cut short")
def cut_short(lab: Lab, folder: pathlib.Path) -> Row:
    return _damage(lab, folder, lambda body: body[: len(body) // 2])


@_special("store", "cached files emptied")
def emptied(lab: Lab, folder: pathlib.Path) -> Row:
    return _damage(lab, folder, lambda body: b"")


@_special("store", "parts of an earlier run are garbage")
def poisoned_parts(lab: Lab, folder: pathlib.Path) -> Row:
    _go(lab, folder, [lab.fault("half-then-gone")])
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".json" and path.stat().st_size > 1000:
            path.write_bytes(b"garbage!" * (path.stat().st_size // 8))
    return _go(lab, folder, [lab.fault("ok")])


@_special("store", "half at one mirror, the rest by Range at another")
def resumed_elsewhere(lab: Lab, folder: pathlib.Path) -> Row:
    other = lab.good()
    row = _go(lab, folder, [lab.fault("half-then-gone"), other], hedge_after_s=60.0)
    big = lab.dataset.part("train", "images").name
    offsets = [r.offset for r in lab.asked(other) if r.name == big]
    return _and(row, any(offsets), f"the second mirror was asked for bytes from {offsets}")


@_special("store", "the cache folder is a file")
def cache_is_a_file(lab: Lab, folder: pathlib.Path) -> Row:
    path = folder / "cache"
    path.write_text("not a folder")
    return _store_error(lab, path)


@_special("store", "the cache cannot be written")
def cache_read_only(lab: Lab, folder: pathlib.Path) -> Row:
    if os.geteuid() == 0:  # root writes everywhere but here
        return _store_error(lab, pathlib.Path("/proc/fmnist-lab"))
    (folder / "cache").mkdir(mode=0o500)
    return _store_error(lab, folder / "cache")


@_special("store", "the disk is full", "netns")
def disk_full(lab: Lab, folder: pathlib.Path) -> Row:
    small = folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return Row("", "", "error", "not tried: mount is not permitted", 0.0)
    try:
        return _store_error(lab, small)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def _store_error(lab: Lab, cache: pathlib.Path) -> Row:
    effective = trial.settings_for([lab.fault("ok")], cache)
    outcome = trial.obtain_files(effective, lab.dataset)
    kind = type(outcome.error).__name__
    wrong = () if isinstance(outcome.error, errors.StoreError) else (f"{kind}: {outcome.error}",)
    return Row("", "", "StoreError", kind, outcome.seconds, wrong)


# --- the policy ---------------------------------------------------------------------------------


@_special("policy", "offline, all cached")
def offline_cached(lab: Lab, folder: pathlib.Path) -> Row:
    _go(lab, folder, [lab.fault("ok")])
    return _go(lab, folder, [lab.fault("ok")], offline=True)


@_special("policy", "offline, nothing cached: no request, names what is missing")
def offline_empty(lab: Lab, folder: pathlib.Path) -> Row:
    mirror = lab.good()
    row = _go(lab, folder, [mirror], "offline", offline=True)
    return _and(row, not lab.asked(mirror), "a request was made")


@_special("policy", "a silent first mirror is hedged")
def hedged(lab: Lab, folder: pathlib.Path) -> Row:
    row = _go(lab, folder, [lab.fault("never-answers"), lab.good()], hedge_after_s=0.5)
    # Had it been waited for, it would be on record as stalled.
    return _and(row, row.found == "files", "waited for the silent mirror")


@_special("policy", "a dead first mirror is asked last in the next run")
def remembered(lab: Lab, folder: pathlib.Path) -> Row:
    dead = settings.Mirror(url=f"http://127.0.0.1:{lab.closed_port}/")
    silent = lab.fault("head-then-silence")
    mirrors = [dead, silent, lab.good()]
    _go(lab, folder, mirrors, hedge_after_s=60.0, read_timeout_s=1.0, attempts=6)
    for file in lab.dataset.files:
        for path in list(_cached(folder, file.name)):
            path.unlink()
    before = len(lab.asked(silent))
    row = _go(lab, folder, [dead, silent, lab.good()], hedge_after_s=60.0)
    again = len(lab.asked(silent)) - before
    return _and(row, again == 0, f"the dead mirror was asked {again} times again")


@_special("policy", "a mirror of wrong bytes is out for the job")
def distrusted(lab: Lab, folder: pathlib.Path) -> Row:
    mirror = lab.fault("impostor")
    row = _go(lab, folder, [mirror, lab.good()])
    asked = len(lab.asked(mirror))
    return _and(row, asked <= len(lab.dataset.files), f"it was asked {asked} times")


@_special("policy", "deadline of 3 s at a server that is slow enough to go on for ever")
def deadline(lab: Lab, folder: pathlib.Path) -> Row:
    return _go(
        lab,
        folder,
        [lab.fault("trickle")],
        "deadline",
        "stalled",
        deadline_s=3.0,
        min_speed_bytes_per_s=1,
        read_timeout_s=30.0,
    )


@_special("policy", "secret header and token stay with their host on a redirect")
def secrets_stay(lab: Lab, folder: pathlib.Path) -> Row:
    key, token = folder / "key", folder / "token"
    key.write_text("k3y-s3cret")
    token.write_text("t0ken-s3cret")
    target = lab.second.base("ok", host="localhost")
    lab.server.scripts["away"] = lambda request, reply: reply.whole(  # type: ignore[index]
        "302 Found", b"", {"Location": target + request.name}
    )
    mirror = lab.fault(
        "away",
        headers=(("X-Key", f"file:{key}"), ("X-Team", "vision")),
        auth=settings.Auth(type="bearer", token=f"file:{token}"),
    )
    cache = folder / "cache"
    row = _go(lab, cache, [mirror])
    first = lab.asked(mirror)
    after = [r for r in lab.second.log if r.headers.get("host", "").startswith("localhost")]
    row = _and(row, all(r.headers.get("x-key") == "k3y-s3cret" for r in first), "key not sent")
    seen = [r for r in after if "s3cret" in str(r.headers)]
    row = _and(row, bool(after) and not seen, "a secret followed the redirect")
    told = [p for p in cache.rglob("*.json") if "s3cret" in p.read_text(encoding="utf-8")]
    return _and(row, not told, "a secret stands in the receipt")


@_special("policy", "an honest User-Agent that is not the library's default")
def user_agent(lab: Lab, folder: pathlib.Path) -> Row:
    mirror = lab.good()
    row = _go(lab, folder, [mirror])
    agents = {r.headers.get("user-agent", "") for r in lab.asked(mirror)}
    return _and(row, all("fmnist" in a for a in agents), f"User-Agent {sorted(agents)}")


# --- lost packets, in a network namespace -------------------------------------------------------


def _inside(folder: pathlib.Path, task: dict[str, object], resolver: str = "") -> dict[str, object]:
    with parts.namespace() as space:
        directory = pathlib.Path("/etc/netns") / space.name
        if resolver:  # `ip netns exec` puts this file in the place of /etc/resolv.conf
            directory.mkdir(parents=True)
            (directory / "resolv.conf").write_text(f"nameserver {resolver}\n")
        try:
            done = subprocess.run(
                space.command(sys.executable, str(HERE / "inside.py")),
                input=json.dumps({"cache_dir": str(folder / "cache"), **task}),
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
                },
            )
        finally:
            if resolver:
                (directory / "resolv.conf").unlink()
                directory.rmdir()
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _judge_inside(
    lab: Lab, folder: pathlib.Path, found: dict[str, object], dataset: catalog.Catalog, *causes: str
) -> Row:
    files = found["files"]
    outcome = trial.Outcome(
        files={k: pathlib.Path(v) for k, v in files.items()} if isinstance(files, dict) else None,
        error=errors.ObtainError(str(found["error"])) if found["error"] else None,
        seconds=float(str(found["seconds"])),
        hung=bool(found["hung"]),
        causes=tuple(str(c) for c in found["causes"]),  # type: ignore[attr-defined]
    )
    return trial.judge("", "", outcome, causes=causes, cache_dir=folder / "cache", dataset=dataset)


@_special("network", "packets to the mirror are dropped", "netns")
def dropped(lab: Lab, folder: pathlib.Path) -> Row:
    task: dict[str, object] = {"mirrors": [f"http://{parts.Namespace.HOLE}/"]}
    found = _inside(folder, {**task, "network": {"connect_timeout_s": 1.0}})
    return _judge_inside(lab, folder, found, lab.dataset, "connect-timeout")


@_special("network", "packets to the first mirror are dropped; then a good mirror", "netns")
def dropped_then_good(lab: Lab, folder: pathlib.Path) -> Row:
    found = _inside(folder, {"mirrors": [f"http://{parts.Namespace.HOLE}/"], "serve": True})
    return _judge_inside(lab, folder, found, lab.dataset, "ok")


@_special("network", "no route anywhere, all public mirrors", "netns")
def no_network(lab: Lab, folder: pathlib.Path) -> Row:
    return _dead_network(lab, folder, "192.0.2.1")


@_special("network", "the DNS server does not answer, all public mirrors", "netns")
def silent_dns(lab: Lab, folder: pathlib.Path) -> Row:
    return _dead_network(lab, folder, parts.Namespace.HOLE)


def _dead_network(lab: Lab, folder: pathlib.Path, resolver: str) -> Row:
    """The user's own limits, not the laboratory's: known as dead after one round, where that takes
    as long as it does with a silent name server. That it takes less than 10 s of an undisturbed
    clock, `tests/download/test_fetch.py` says."""
    dataset = catalog.FASHION_MNIST
    defaults = dataclasses.asdict(settings.Network())
    task: dict[str, object] = {
        "mirrors": list(dataset.mirrors),
        "real": True,
        "network": defaults,
    }
    found = _inside(folder, task, resolver)
    row = _judge_inside(lab, folder, found, dataset, "dns-failure", "connect-timeout")
    is_once = found["tries"] == 1 or resolver != parts.Namespace.HOLE
    return _and(row, is_once, f"a dead network was asked {found['tries']} times")
