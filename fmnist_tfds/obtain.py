"""Obtains files: from the cache, manual_dir, other tools' folders (opt in), then the mirrors."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from fmnist_tfds import artifacts, atomic_file, catalog, errors
from fmnist_tfds.config import loader, settings, urls
from fmnist_tfds.download import failure_message, local_folder, results
from fmnist_tfds.download import progress as progress_
from fmnist_tfds.download.cache import receipts
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import downloader
from fmnist_tfds.formats import identify


def obtain_files(
    *,
    mirrors: str | Iterable[str | settings.Mirror] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    deadline_s: float | None = None,
    offline: bool | None = None,
    adopt_local: bool = False,
    out: str | os.PathLike[str] | None = None,
    settings: settings.Settings | None = None,
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
    progress: progress_.Progress | None = None,
) -> dict[str, pathlib.Path]:
    """The four verified files: canonical name -> path.

    Args:
        mirrors: the mirror list, as text or entries; "off" for no network.
        manual_dir: folder, archive or file that holds the data; tried before the network.
        cache_dir: where verified files are kept.
        config_file: TOML file.
        deadline_s: seconds for the whole job.
        offline: open no socket.
        adopt_local: look in other tools' caches on this disk before asking the network.
        out: folder that gets a copy of the four; the paths returned then lie there.
        settings: all of the above at once, instead.
        dataset: which data set.
        progress: receives progress.

    Raises:
        ConfigError: a setting is wrong.
        ObtainError: no source delivered a file; the message lists every one with its cause.
        StoreError: the cache or `out` cannot be written.
    """
    effective = settings or loader.load(
        mirrors=mirrors,
        manual_dir=manual_dir,
        cache_dir=cache_dir,
        config_file=config_file,
        deadline_s=deadline_s,
        offline=offline,
        adopt_local=adopt_local,
        dataset=dataset,
    )
    outcome = obtain(
        effective, dataset=dataset, out=pathlib.Path(out) if out else None, progress=progress
    )
    if outcome.error is not None:
        raise outcome.error
    return {name: file.path for name, file in outcome.files.items() if file.path}


def obtain(
    settings: settings.Settings,
    *,
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
    out: pathlib.Path | None = None,
    progress: progress_.Progress | None = None,
) -> results.Result:
    """Obtains the four files; errors are in the result, not raised.

    Args:
        settings: where from and how.
        dataset: which data set.
        out: folder that gets a copy of the four.
        progress: receives progress.
    """
    return _Job(settings, dataset, progress or progress_.Silent()).run(out)


class _Job:
    def __init__(
        self,
        options: settings.Settings,
        dataset: artifacts.ArtifactSet,
        report_to: progress_.Progress,
    ) -> None:
        self._options = options
        self._dataset = dataset
        self._report = report_to
        self._started_s = time.monotonic()
        self._store = stores.Store(options.cache_dir / dataset.cache_folder, dataset)
        self._files: dict[str, results.FileResult] = {}
        self._attempts: dict[str, list[results.Attempt]] = {f.name: [] for f in dataset.files}
        self._records: dict[str, receipts.FileRecord] = {}
        self._error: errors.FmnistError | None = None

    def run(self, out: pathlib.Path | None) -> results.Result:
        for note in (*self._options.notes, *self._warnings()):
            self._report.note(note)
        try:
            for step in (self._cache, self._manual_dir, self._other_tools, self._mirrors):
                if self._missing():
                    step()
        except errors.FmnistError as error:
            self._error = error
        if missing := self._missing():
            self._give_up(missing)
        elif out is not None:
            self._copy_to(out)
        files = {f.name: self._files[f.name] for f in self._dataset.files}
        return results.Result(
            files, time.monotonic() - self._started_s, self._receipt(), self._error
        )

    def _give_up(self, missing: list[artifacts.Artifact]) -> None:
        if self._options.offline:
            attempt = results.failed("the network", causes.named("offline"))
            for file in missing:
                self._attempts[file.name].append(attempt)
        self._error = self._error or failure_message.obtain_error(
            missing,
            self._attempts,
            is_offline=self._options.offline,
            blocked_message=self._options.blocked_message,
        )
        for file in missing:
            attempts = tuple(self._attempts[file.name])
            self._files[file.name] = results.FileResult(None, attempts=attempts)

    def _missing(self) -> list[artifacts.Artifact]:
        return [f for f in self._dataset.files if f.name not in self._files]

    def _warnings(self) -> list[str]:
        return [
            f"{urls.mask_url(m.url)}: insecure_tls: its certificate is not checked; the bytes "
            "are, against the pinned digests"
            for m in self._options.mirrors
            if m.insecure_tls and not self._options.offline
        ]

    def _cache(self) -> None:
        for file in self._missing():
            if path := self._store.lookup(file):
                self._have(file, path, "cache")

    def _manual_dir(self) -> None:
        if self._options.manual_dir is not None:
            self._take(self._options.manual_dir)

    def _other_tools(self) -> None:
        if not self._options.adopt_local or not isinstance(self._dataset, catalog.Catalog):
            return
        folders = importlib.import_module("fmnist_tfds.exchange.tool_folders")
        for place in folders.existing(self._dataset):
            if self._missing() and place.exists():
                self._take(place)

    def _take(self, place: pathlib.Path) -> None:
        """Takes the files in `place`; each one that it lacks becomes a failed attempt."""
        failed: dict[str, results.Attempt] = {}
        for file in self._missing():
            found = local_folder.find(place, file, self._dataset)
            if found.path is not None and found.identity is not None:
                self._use(file, found.path, found.identity, found.attempt)
            else:
                failed[file.name] = found.attempt
        refusal = self._adopt(place) if failed and place.exists() else None
        lacking = [failed[file.name] for file in self._missing()]
        # If none of the files has its usual name, why `adopt` refused says more than "not found".
        has_no_names = len(lacking) == len(self._dataset.files) and all(
            a.cause == "not-found" and a.evidence != local_folder.EMPTY for a in lacking
        )
        if refusal is not None and has_no_names:
            why = refusal.message.removeprefix(f"{place} ")
            lacking = [
                dataclasses.replace(a, evidence=why, remedy=refusal.hint or a.remedy)
                for a in lacking
            ]
        for file, attempt in zip(self._missing(), lacking, strict=True):
            self._attempts[file.name].append(attempt)
        for note in dict.fromkeys(f"{a.url}: {a.cause}: {a.evidence}" for a in lacking):
            self._report.note(note)

    def _use(
        self,
        file: artifacts.Artifact,
        path: pathlib.Path,
        identity: identify.Identity,
        attempt: results.Attempt,
    ) -> None:
        is_canonical = identity.verdict == "genuine"
        self._attempts[file.name].append(attempt)
        try:
            # Copied to the cache, so that the next command finds it there.
            published = self._publish_copy(path, file, str(path))
        except errors.StoreError as error:
            # The cache cannot be written; the file is genuine and is used where it lies.
            if not is_canonical:
                self._report.note(error.message)
        else:
            if not is_canonical:
                self._have(file, published, str(path))
                return
        self._records[file.name] = {
            "source": str(path),
            **receipts.facts(file, canonical_gz=is_canonical),
        }
        self._have(file, path, str(path))

    def _adopt(self, place: pathlib.Path) -> errors.FmnistError | None:
        """Takes missing files in other forms from `place` (exchange.adopt); its error, if any."""
        if not isinstance(self._dataset, catalog.Catalog):
            return None
        adopt = importlib.import_module("fmnist_tfds.exchange.adopt.adopt")
        with tempfile.TemporaryDirectory(prefix="fmnist_tfds-") as scratch:
            try:
                made = adopt.adopt(place, pathlib.Path(scratch), dataset=self._dataset)
            except errors.FmnistError as error:
                return error
            for file in self._missing():
                published = self._publish_copy(made.files[file.name], file, str(place))
                self._attempts[file.name].append(results.Attempt(url=str(place), outcome="ok"))
                self._have(file, published, str(place))
        return None

    def _publish_copy(
        self, path: pathlib.Path, file: artifacts.Artifact, source: str
    ) -> pathlib.Path:
        part = self._store.part_path(file)
        try:
            shutil.copyfile(path, part)
            return self._store.publish(part, file, {"source": source})
        except OSError as error:
            raise stores.unwritable(self._store.directory, error) from error
        finally:
            self._store.parts.release(part, keep=False)

    def _mirrors(self) -> None:
        deadline_s = self._started_s + self._options.network.deadline_s
        missing = self._missing()
        if not any(m.is_local or not self._options.offline for m in self._options.mirrors):
            return
        result = downloader.fetch_all(
            self._options, missing, self._store, report=self._report, deadline_s=deadline_s
        )
        for file in missing:
            got = result.files[file.name]
            self._attempts[file.name].extend(got.attempts)
            if got.path is not None:
                self._have(file, got.path, got.source)
        if result.error is not None:
            raise result.error

    def _have(self, file: artifacts.Artifact, path: pathlib.Path, source: str | None) -> None:
        record = self._records.get(file.name) or self._store.record(file)
        is_pinned = record.get("canonical_gz") or record.get("sha256")
        sha256 = record.get("file_sha256") or (file.sha256 if is_pinned else stores.sha256(path))
        attempts = tuple(self._attempts[file.name])
        self._files[file.name] = results.FileResult(path, sha256, source, attempts)

    def _receipt(self) -> dict[str, Any]:
        records: dict[str, receipts.FileRecord] = {}
        for name, had in self._files.items():
            if had.path is not None:
                record = self._records.get(name) or self._store.record(self._dataset.file(name))
                failed = [a.as_json() for a in had.attempts if a.outcome == "failed"]
                # A file from the cache keeps the failed attempts of the job that fetched it.
                records[name] = {"failed_attempts": [], **record}
                if failed:
                    records[name]["failed_attempts"] = failed
        return receipts.assemble(records, dataset=self._dataset)

    def _copy_to(self, out: pathlib.Path) -> None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for file in self._dataset.files:
                had = self._files[file.name]
                assert had.path is not None
                target = out / file.name
                if not (target.exists() and target.samefile(had.path)):
                    atomic_file.copy(had.path, target)
                self._files[file.name] = dataclasses.replace(had, path=target)
            receipts.write_json(out / receipts.NAME, self._receipt())
        except OSError as error:
            self._error = errors.unwritable(out, error)
