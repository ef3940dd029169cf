"""A folder that is a mirror of data sets: every file under its digest, and under its own name.

    by-hash/sha256/HEX      the bytes, once
    NAME/FILENAME           the same file, for people (a hard link where the disk has them)
    manifest.json           which data set needs which file, from which original URL

Whatever serves static files serves it: `fmnist-tfds serve --root`, nginx, a bucket, file://.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_tfds import artifacts, atomic_file, errors
from fmnist_tfds.any_dataset import plan
from fmnist_tfds.download import progress, results
from fmnist_tfds.download.cache import receipts, store

MANIFEST = "manifest.json"
_FORMAT = 1
_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Created:
    """What a mirror folder has after `create`.

    Attributes:
        files: how many files of the data sets asked for are in it.
        size_bytes: their size together.
        failed: why each of the others is not, in the order of the data sets.
    """

    files: int
    size_bytes: int
    failed: tuple[errors.FmnistError, ...]


def obtain_all(
    made: plan.Plan, wanted: artifacts.ArtifactSet, report: progress.Progress | None = None
) -> results.Result:
    """Every artifact of a data set, some at a time; what failed stands in the result.

    Args:
        made: how.
        wanted: the data set's artifacts.
        report: receives progress.
    """
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "fmnist-tfds") as pool:
        each = list(
            pool.map(lambda one: made.obtain(one, dataset=wanted.name, report=report), wanted.files)
        )
    files = {name: file for result in each for name, file in result.files.items()}
    records = [result.receipt.get("files", {}) for result in each]
    receipt = {**each[0].receipt, "files": {k: v for held in records for k, v in held.items()}}
    seconds = max(result.seconds for result in each)
    failed = [result.error for result in each if result.error is not None]
    return results.Result(files, seconds, receipt, _together(failed))


def copied(result: results.Result, out: pathlib.Path) -> results.Result:
    """`result` with every file that is here copied into `out`, under its own name.

    Raises:
        StoreError: `out` cannot be written.
    """
    files = dict(result.files)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, file in result.files.items():
            if file.path is not None:
                atomic_file.copy(file.path, out / name)
                files[name] = dataclasses.replace(file, path=out / name)
        receipts.write_json(out / receipts.NAME, result.receipt)
    except OSError as error:
        raise errors.unwritable(out, error) from error
    return dataclasses.replace(result, files=files)


def create(
    made: plan.Plan,
    sets: Sequence[artifacts.ArtifactSet],
    out: pathlib.Path,
    report: progress.Progress | None = None,
) -> Created:
    """Obtains every artifact of `sets` and puts it into the mirror folder `out`.

    A folder that is there already is added to: what it holds is neither asked for again nor lost.

    Args:
        made: how the artifacts are obtained.
        sets: what is wanted.
        out: the folder.
        report: receives progress.

    Raises:
        StoreError: `out` cannot be written.
    """
    count = size = 0
    failed: list[errors.FmnistError] = []
    for wanted in sets:
        try:
            held, error = _added(made, wanted, out, report)
            _note(out / MANIFEST, wanted.name, held)
        except OSError as problem:
            raise errors.unwritable(out, problem) from problem
        if error is not None:
            failed.append(error)
        count += len(held)
        size += sum(artifact.size_bytes for artifact in held)
    return Created(count, size, tuple(failed))


def _added(
    made: plan.Plan,
    wanted: artifacts.ArtifactSet,
    out: pathlib.Path,
    report: progress.Progress | None,
) -> tuple[list[artifacts.Artifact], errors.FmnistError | None]:
    """Which files of one data set the folder has now, and why it lacks the others."""
    lacking = [file for file in wanted.files if not _is(_by_hash(out, file), file)]
    obtained: Mapping[str, results.FileResult] = {}
    error = None
    if lacking:
        result = obtain_all(made, dataclasses.replace(wanted, files=tuple(lacking)), report)
        obtained, error = result.files, result.error
    held = []
    for artifact in wanted.files:
        if (found := obtained.get(artifact.name)) is not None:
            if found.path is None:
                continue
            _place(found.path, _by_hash(out, artifact))
        _name(artifact, wanted.name, out)
        held.append(artifact)
    return held, error


def _together(failed: Sequence[errors.FmnistError]) -> errors.FmnistError | None:
    if len(failed) < 2:
        return failed[0] if failed else None
    text = "\n".join(error.message for error in failed)
    return errors.ObtainError(text, hint=failed[0].hint)


def _by_hash(out: pathlib.Path, artifact: artifacts.Artifact) -> pathlib.Path:
    return out / plan.BY_HASH / artifact.sha256


def _is(path: pathlib.Path, artifact: artifacts.Artifact) -> bool:
    return path.is_file() and store.sha256(path) == artifact.sha256


def _place(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Never a link to the cache: who serves a folder must not depend on it.
    atomic_file.copy(source, target)


def _name(artifact: artifacts.Artifact, dataset: str, out: pathlib.Path) -> None:
    """A second name, for people, of the file that stands under its digest."""
    named, by_hash = out / dataset / artifact.name, _by_hash(out, artifact)
    if _is(named, artifact):
        return
    named.parent.mkdir(parents=True, exist_ok=True)
    named.unlink(missing_ok=True)
    try:
        named.hardlink_to(by_hash)
    except OSError:  # no hard links on that file system
        atomic_file.copy(by_hash, named)


def _note(path: pathlib.Path, name: str, held: Sequence[artifacts.Artifact]) -> None:
    manifest: dict[str, Any] = receipts.read_json(path)
    datasets = manifest.get("datasets")
    known = dict(datasets) if isinstance(datasets, dict) else {}
    known[name] = [dataclasses.asdict(artifact) for artifact in held]
    receipts.write_json(path, {"format": _FORMAT, "datasets": known})


def read(root: pathlib.Path) -> tuple[artifacts.ArtifactSet, ...]:
    """The data sets that the mirror folder `root` holds, as its manifest says.

    Raises:
        ConfigError: it has no manifest, or one that is none.
    """
    path = root / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            artifacts.ArtifactSet(
                name=name, title=name, files=tuple(artifacts.Artifact(**entry) for entry in files)
            )
            for name, files in document["datasets"].items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.ConfigError(
            f"{root}: no mirror folder: {MANIFEST} is absent or damaged",
            hint="make one: fmnist-tfds mirror create NAME --out=FOLDER",
        ) from error
