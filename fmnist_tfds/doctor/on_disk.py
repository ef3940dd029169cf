"""Sources that need no network: the cache, manual_dir, folders in the mirror list. Only reads."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.doctor import findings
from fmnist_tfds.download import local_folder
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.formats import identify

_Lacking = Mapping[str, causes.Explanation]
# Looks for the data in other forms in a folder: the error, or None if it is there.
Adopting = Callable[[pathlib.Path], errors.FmnistError | None]


def at_hand(
    options: settings.Settings,
    dataset: artifacts.ArtifactSet,
    adopting: Adopting | None,
    local: Sequence[pathlib.Path],
) -> list[findings.Source]:
    """Examines the cache (unless empty), manual_dir (if set) and other tools' caches."""
    found = []
    cache = options.cache_dir / dataset.cache_folder
    if any((cache / file.cache_name).is_file() for file in dataset.files):
        found.append(_any_layout("cache", cache, dataset))
    places = [(str(place), place) for place in local]
    if options.manual_dir is not None:
        places.insert(0, ("manual_dir", options.manual_dir))
    for name, place in places:
        source = _any_layout(name, place, dataset)
        if adopting is not None and source.cause and place.exists():
            refusal = adopting(place)
            if refusal is None:
                source = _source(str(place), name, dataset, {})
            elif not source.serves:
                why = causes.named("not-found", refusal.message, refusal.hint or source.remedy)
                source = _source(str(place), name, dataset, {f.name: why for f in dataset.files})
        found.append(source)
    return found


def _any_layout(name: str, place: pathlib.Path, dataset: artifacts.ArtifactSet) -> findings.Source:
    lacking = {}
    for file in dataset.files:
        found = local_folder.find(place, file, dataset)
        if found.path is None:
            attempt = found.attempt
            assert attempt.cause, "what was not found has a cause"
            lacking[file.name] = causes.named(attempt.cause, attempt.evidence, attempt.remedy)
    return _source(str(place), name, dataset, lacking)


class Folder:
    """One file:// mirror; the files must have exactly the names that its URL gives them."""

    def __init__(self, mirror: settings.Mirror, dataset: artifacts.ArtifactSet) -> None:
        self._mirror, self._dataset = mirror, dataset
        self._result = findings.Source(
            mirror.url,
            mirror.name,
            stages=tuple(findings.Stage(name, "not reached") for name in findings.STAGES),
        )

    def run(self) -> None:
        """Examines the folder; the caller bounds the time, should the file system hang."""
        lacking = {}
        for file in self._dataset.files:
            if why := self._why_not(file):
                lacking[file.name] = why
        self._result = _source(self._mirror.url, self._mirror.name, self._dataset, lacking)

    def cancel(self) -> None:
        """Reading a folder cannot be interrupted."""

    def result(self) -> findings.Source:
        """What was found so far."""
        return self._result

    def _why_not(self, file: artifacts.Artifact) -> causes.Explanation | None:
        path = urls.local_path(self._mirror.url_for(file))
        try:
            identity = identify.identify(path, dataset=self._dataset, expected=file)
        except FileNotFoundError:
            return causes.named("not-found", f"there is no file {path}")
        except OSError as error:
            return causes.named("forbidden", f"{path}: {error.strerror or error}")
        if identity.is_file(file):
            return None
        return causes.named("wrong-content", f"{path}: {identity.detail}")


def _source(
    url: str, name: str, dataset: artifacts.ArtifactSet, lacking: _Lacking
) -> findings.Source:
    why = next(iter(lacking.values()), None)
    outcome: findings.Outcome = "failed" if why else "ok"
    detail = why.evidence if why else f"{len(dataset.files)} files proved by their hashes"
    skipped = tuple(findings.Stage(stage, "skipped") for stage in findings.STAGES[:-1])
    return findings.Source(
        url=url,
        name=name,
        stages=(*skipped, findings.Stage("content", outcome, None, detail)),
        serves=tuple(file.name for file in dataset.files if file.name not in lacking),
        cause=why.cause if why else "",
        evidence=detail if why else "",
        remedy=why.remedy if why else "",
    )
