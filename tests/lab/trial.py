"""One try of the real thing in one situation, and whether all that came of it is right."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gzip
import hashlib
import pathlib
import threading
import time
import zlib
from collections.abc import Iterable

import situations

from fmnist_tfds import catalog, errors, obtain
from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes as causes_table

# Limits that a slow machine does not reach: what is wrong is the situation, never the hurry. Only
# where silence is the situation are they short (see `situations.SHORT`).
NETWORK = settings.Network(
    connect_timeout_s=60.0,
    read_timeout_s=60.0,
    attempts=2,
    backoff_s=0.05,
    hedge_after_s=0.7,
    deadline_s=240.0,
)
# A hung trial is given up this long after its deadline, and is wrong.
GRACE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        group: chapter.
        name: situation.
        expected: "files" or causes, any of which is right.
        found: "files", or "no files", with the causes that were named.
        seconds: wall clock.
        wrong: what is wrong, empty if nothing.
    """

    group: str
    name: str
    expected: str
    found: str
    seconds: float
    wrong: tuple[str, ...] = ()


@dataclasses.dataclass
class Outcome:
    """What one call of `obtain` came to.

    Attributes:
        files: the four files, or None if not all came.
        error: what was raised or reported.
        causes: those of the failed attempts, in order, each once.
        tries: how often one source was asked for one file, at most.
        seconds: wall clock.
        hung: it had not returned when its time was long over.
    """

    files: dict[str, pathlib.Path] | None = None
    error: BaseException | None = None
    causes: tuple[str, ...] = ()
    tries: int = 0
    seconds: float = 0.0
    hung: bool = False


def obtain_files(effective: settings.Settings, dataset: catalog.Catalog) -> Outcome:
    """Calls `obtain` in a thread of its own and waits for it, not for ever."""
    outcome = Outcome()

    def work() -> None:
        # The thread's exception is what is looked at afterwards, whatever it is.
        try:
            came = obtain.obtain(effective, dataset=dataset)
            attempts = [a for file in came.files.values() for a in file.attempts]
            outcome.causes = tuple(dict.fromkeys(a.cause for a in attempts if a.cause))
            asked = collections.Counter(a.url for a in attempts)
            outcome.tries = max(asked.values(), default=0)
            outcome.error = came.error
            if came.error is None:
                outcome.files = {name: f.path for name, f in came.files.items() if f.path}
        except BaseException as error:  # noqa: BLE001
            outcome.error = error

    start = time.monotonic()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(effective.network.deadline_s + GRACE_S)
    outcome.seconds = time.monotonic() - start
    outcome.hung = thread.is_alive()
    return outcome


def settings_for(
    mirrors: Iterable[settings.Mirror], cache_dir: pathlib.Path, **network: object
) -> settings.Settings:
    """The laboratory's settings: no environment, short limits."""
    return settings.Settings(
        mirrors=tuple(mirrors),
        cache_dir=cache_dir,
        network=dataclasses.replace(NETWORK, **network),  # type: ignore[arg-type]
    )


def judge(
    group: str,
    name: str,
    outcome: Outcome,
    *,
    causes: tuple[str, ...],
    cache_dir: pathlib.Path,
    dataset: catalog.Catalog,
) -> Row:
    """The table's line for one outcome; `causes` says what is right, "ok" for the files."""
    wrong = list(leftovers(cache_dir, dataset))
    if outcome.hung:
        wrong.append(f"still running {GRACE_S:.0f} s after the deadline")
    if outcome.files is not None:
        wrong += unverified(outcome.files, dataset)
        after = f" (after {', '.join(outcome.causes)})" if outcome.causes else ""
        found = "files" + after
        if "ok" not in causes:
            wrong.append("files came where none can come")
    else:
        named = _named_causes(str(outcome.error or ""))
        found = "no files: " + (", ".join(named) or type(outcome.error).__name__)
        if outcome.error is not None and not isinstance(outcome.error, errors.FmnistError):
            wrong.append(f"{type(outcome.error).__name__}: {outcome.error}")
        elif not set(causes) & set(named):
            wrong.append(f"expected {' or '.join(causes)}")
    expected = "files" if causes == ("ok",) else ", ".join(c.replace("ok", "files") for c in causes)
    return Row(group, name, expected, found, outcome.seconds, tuple(wrong))


def run(situation: situations.Situation, lab: situations.Lab, folder: pathlib.Path) -> list[Row]:
    """The rows of one situation: alone, and with a good mirror behind it."""
    rows = []
    variants = [(situation.name, [], situation.causes)]
    if situation.causes != ("ok",):
        variants.append((f"{situation.name}; then a good mirror", [lab.good()], ("ok",)))
    for number, (name, more, causes) in enumerate(variants):
        cache_dir = folder / f"cache{number}"
        network = dict(situation.network)
        if more:
            # A short limit may call the good mirror silent, too: it gets another chance.
            network |= {"attempts": 6}
        effective = settings_for([*situation.mirrors(lab), *more], cache_dir, **network)
        if situation.environment:
            effective = dataclasses.replace(effective, environment=situation.environment(lab))
        outcome = obtain_files(effective, lab.dataset)
        row = judge(
            situation.group,
            name,
            outcome,
            causes=causes,
            cache_dir=cache_dir,
            dataset=lab.dataset,
        )
        # A hedged mirror may deliver before the first one has failed: then nothing is named.
        if more and outcome.causes and not set(outcome.causes) & set(situation.causes):
            told = f"named {', '.join(outcome.causes)}, expected {' or '.join(situation.causes)}"
            row = dataclasses.replace(row, wrong=(*row.wrong, told))
        rows.append(row)
    return rows


def _named_causes(message: str) -> list[str]:
    words = set(message.replace(",", " ").split())
    return [cause for cause in causes_table.CAUSES if cause in words]


def unverified(files: dict[str, pathlib.Path], dataset: catalog.Catalog) -> list[str]:
    """What is wrong with the files that `obtain` gave."""
    wrong = [f"{f.name} is missing" for f in dataset.files if f.name not in files]
    for file in dataset.files:
        if file.name in files and not genuine(files[file.name], file):
            wrong.append(f"{file.name} is not the file")
    return wrong


def genuine(path: pathlib.Path, file: catalog.SourceFile) -> bool:
    """True if `path` is that file, as .gz or as payload: proved here, not by the package."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() in (file.sha256, file.payload_sha256):
        return True
    # The canonical .gz of the laboratory's files cannot be made again from other wrappers.
    try:
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return False
    return hashlib.sha256(data).hexdigest() == file.payload_sha256


def leftovers(cache_dir: pathlib.Path, dataset: catalog.Catalog) -> list[str]:
    """What may not lie in the cache: a wrong file under a final name, parts without bound."""
    wrong = []
    names = {name: f for f in dataset.files for name in (f.name, f.payload_name)}
    rest = 0
    for path in cache_dir.rglob("*"):
        if path.is_file() and path.name in names:
            if not genuine(path, names[path.name]):
                wrong.append(f"{path.name} in the cache is not the file")
        else:
            # A thread that was called off may be removing its part just now.
            with contextlib.suppress(FileNotFoundError):
                rest += path.stat().st_size if path.is_file() else 0
    limit = 3 * sum(f.size_bytes for f in dataset.files) + (1 << 20)
    if rest > limit:
        wrong.append(f"{rest:,} bytes of parts are left")
    return wrong
