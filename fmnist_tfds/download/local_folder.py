"""Finds the four files in a folder: by name, also in the layouts of other tools.

Only reads. What is found is identified; a wrong file is reported as a failed attempt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib

from fmnist_tfds import artifacts, catalog
from fmnist_tfds.download import results
from fmnist_tfds.download.diagnosis import causes, responses
from fmnist_tfds.formats import identify

_MOST_FOLDERS = 200
_MOST_ENTRIES = 10_000
EMPTY = "the folder is empty"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds under the names of one file: the best candidate, or why there is none."""

    path: pathlib.Path | None
    identity: identify.Identity | None
    attempt: results.Attempt


def find(folder: pathlib.Path, file: artifacts.Artifact, dataset: artifacts.ArtifactSet) -> Found:
    """The proved copy of `file` in `folder`, canonical ones before others, or what is wrong."""
    wrong: results.Attempt | None = None
    proved: Found | None = None
    for path in _candidates(folder, file, dataset):
        try:
            identity = identify.identify(path, dataset=dataset, expected=file)
            if identity.is_file(file):
                found = Found(path, identity, results.Attempt(url=str(path), outcome="ok"))
                if identity.verdict == "genuine":
                    return found
                proved = proved or found
                continue
            why = _why(path, file, identity)
        except OSError as error:
            why = causes.named("forbidden", f"cannot be read: {error.strerror or error}")
        wrong = wrong or _failed(path, why)
    if proved:
        return proved
    # The same text for every missing file: an error message then lists it once.
    return Found(None, None, wrong or _failed(folder, causes.named("not-found", _held(folder))))


def _failed(path: pathlib.Path, why: causes.Explanation) -> results.Attempt:
    remedy = "put the four original files there; `fmnist-tfds verify` says what a file is"
    return results.failed(str(path), why, remedy)


def _why(
    path: pathlib.Path, file: artifacts.Artifact, identity: identify.Identity
) -> causes.Explanation:
    if identity.is_genuine or identity.verdict == "html":
        return causes.named("wrong-content", f"expected {file.name}, found {identity.detail}")
    return responses.from_identity(
        identity.verdict,
        identity.detail,
        body_start=identify.head_of(path),
        headers={},
        url=path.as_uri(),
    )


def _candidates(
    folder: pathlib.Path, file: artifacts.Artifact, dataset: artifacts.ArtifactSet
) -> list[pathlib.Path]:
    try:
        children = [
            p for p in itertools.islice(sorted(folder.iterdir()), _MOST_ENTRIES) if p.is_dir()
        ]
    except OSError:
        children = []
    if not isinstance(file, catalog.SourceFile) or not isinstance(dataset, catalog.Catalog):
        # By name first; then what has the size, under whatever name.
        named = [each / file.name for each in (folder, *children[:_MOST_FOLDERS])]
        return [path for path in dict.fromkeys(named + _of_size(folder, file)) if path.is_file()]
    # Deeper than one folder only where a known tool puts them.
    known = [folder / each.folder for each in dataset.tool_folders if each.form != "other"]
    folders = [folder, *known, *children[:_MOST_FOLDERS]]
    # The repository's Git checkout and torchvision call them alike, with or without ".gz".
    paths = [each / name for each in folders for name in (file.name, file.payload_name)]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _of_size(folder: pathlib.Path, file: artifacts.Artifact) -> list[pathlib.Path]:
    found = []
    # Not rglob, which fails where a folder below vanishes meanwhile: TFDS may work in it.
    below = (pathlib.Path(root, name) for root, _, names in os.walk(folder) for name in names)
    for path in itertools.islice(below, _MOST_ENTRIES):
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_size == file.size_bytes:
                found.append(path)
    return sorted(found)


def _held(folder: pathlib.Path) -> str:
    try:
        names = sorted(path.name for path in itertools.islice(folder.iterdir(), 1000))
    except FileNotFoundError:
        return "there is no such folder"
    except NotADirectoryError:
        return "a file, not a folder"
    except OSError as error:
        return f"the folder cannot be read: {error.strerror or error}"
    if not names:
        return EMPTY
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"expected under its name, with or without .gz; found {shown}"
