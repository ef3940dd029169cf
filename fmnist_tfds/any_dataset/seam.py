"""Where TFDS hands its downloads over: a DownloadManager whose downloader obtains artifacts.

Two private names of TFDS are used, `DownloadManager._downloader` and `_Downloader._sync_download`;
`install` refuses a TFDS in which they are not what they were. Imports TFDS, never TensorFlow.
"""

from __future__ import annotations

import inspect
import logging
import pathlib
import shutil
import threading
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, download
from tensorflow_datasets.core.download import checksums, download_manager, downloader

from fmnist_tfds import artifacts, errors
from fmnist_tfds.any_dataset import active
from fmnist_tfds.any_dataset import plan as plan_
from fmnist_tfds.download.cache import receipts

_LOG = logging.getLogger(__name__)
_STOCK = download_manager.DownloadManager
# More at once help no line, and each may ask several mirrors.
_MOST_AT_ONCE = 16
_MIB = 1 << 20
_receipts_lock = threading.Lock()


def install() -> None:
    """TFDS makes managers of ours from now on.

    Raises:
        ConfigError: the names that are used here have moved in this TFDS.
    """
    if moved := _moved():
        raise errors.ConfigError(
            f"TFDS {tfds.__version__} is not supported here: {moved}; nothing was changed",
            hint="use a version of tensorflow-datasets that setup.py names",
        )
    if download.DownloadManager is _STOCK:
        download.DownloadManager = Manager


def remove() -> None:
    """TFDS makes its own managers again."""
    if download.DownloadManager is Manager:
        download.DownloadManager = _STOCK


def _moved() -> str:
    """Which of TFDS's names are not what they were, or ""."""
    signature = inspect.signature
    wanted = {
        "DownloadManager._downloader": isinstance(
            inspect.getattr_static(_STOCK, "_downloader", None), property
        ),
        "DownloadManager.__init__": {"download_dir", "url_infos", "dataset_name"}
        <= signature(_STOCK.__init__).parameters.keys(),
        "_Downloader._sync_download": list(
            signature(getattr(downloader._Downloader, "_sync_download", int)).parameters
        )
        == ["self", "url", "destination_path", "verify"],
        "DatasetBuilder._make_download_manager": "DownloadManager"
        in dataset_builder.DatasetBuilder._make_download_manager.__code__.co_names,
        "core.download.DownloadManager": download.DownloadManager in (_STOCK, Manager),
    }
    return ", ".join(f"{name} has moved" for name, holds in wanted.items() if not holds)


class Manager(download_manager.DownloadManager):  # type: ignore[misc]
    """TFDS's manager; what it downloads is obtained by the plan that held when it was made."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._plan = active.current()
        self._own: _Downloader | None = None

    def __getstate__(self) -> dict[str, Any]:
        """As TFDS: what cannot be pickled is made anew in each worker of a Beam pipeline."""
        return {**super().__getstate__(), "_own": None}

    @property
    def _downloader(self) -> Any:
        if self._plan is None:
            return super()._downloader
        if self._own is None:
            self._own = _Downloader(
                self._plan,
                self._url_infos,
                pathlib.Path(str(self._download_dir)),
                pathlib.Path(str(self._manual_dir)) if self._manual_dir else None,
                self._dataset_name or "",
                min(self._max_simultaneous_downloads or _MOST_AT_ONCE, _MOST_AT_ONCE),
            )
        return self._own


class _Downloader(downloader._Downloader):  # type: ignore[misc]
    """TFDS's downloader, bars and all; each URL goes through the plan.

    Args:
        plan: how artifacts are obtained.
        url_infos: URL -> what TFDS pins for it.
        download_dir: TFDS's folder of downloads; the receipt is kept there.
        manual_dir: TFDS's folder of manual downloads. What it holds under TFDS's name for it never
            comes here; the rest is found by its digest, whatever a browser called it.
        dataset: name of the data set.
        at_once: the most downloads at one time.
    """

    def __init__(
        self,
        plan: plan_.Plan,
        url_infos: dict[str, Any],
        download_dir: pathlib.Path,
        manual_dir: pathlib.Path | None,
        dataset: str,
        at_once: int,
    ) -> None:
        super().__init__(max_simultaneous_downloads=at_once)
        self._plan = plan
        self._infos = url_infos
        self._receipt = download_dir / dataset / receipts.NAME
        self._manual_dir = manual_dir if manual_dir and manual_dir.is_dir() else None
        self._dataset = dataset

    def _sync_download(self, url: str, destination_path: Any, verify: bool = True) -> Any:
        info = self._infos.get(url)
        artifact = plan_.artifact_of(url, info)
        if artifact is None:
            return self._by_tfds(url, destination_path, verify, "TFDS pins no checksum for it")
        bars = _Bars(self._pbar_dl_size, artifact.size_bytes)
        result = self._plan.obtain(
            artifact,
            dataset=self._dataset,
            manual_dir=self._manual_dir,
            report=bars,
            verify_tls=verify,
        )
        found = result.files[artifact.name].path
        if found is None:
            if self._plan.leaves_to_tfds(url):
                return self._by_tfds(url, destination_path, verify, "no mirror has it")
            assert result.error is not None
            raise result.error
        bars.finish()
        target = pathlib.Path(str(destination_path)) / artifact.name
        _link(found, target)
        self._keep(artifact, result.receipt)
        self._pbar_url.update(1)
        return downloader.DownloadResult(
            path=type(destination_path)(target),
            url_info=checksums.UrlInfo(
                size=tfds.core.utils.Size(artifact.size_bytes),
                checksum=artifact.sha256,
                filename=artifact.name,
            ),
        )

    def _by_tfds(self, url: str, destination_path: Any, verify: bool, why: str) -> Any:
        if self._plan.options.offline:
            raise errors.ObtainError(
                f"could not obtain {url}: {why}, and the network is switched off",
                hint="prepare the data set where there is a network, or put the file into TFDS's "
                "manual_dir if the data set reads it from there",
            )
        _LOG.warning("%s: left to TFDS itself: %s", url, why)
        return super()._sync_download(url, destination_path, verify)

    def _keep(self, artifact: artifacts.Artifact, receipt: dict[str, Any]) -> None:
        """Adds to receipt.json beside TFDS's downloads; if that fails, the data is here all the
        same, and each file's record stands in the cache."""
        with _receipts_lock:
            held = receipts.read_json(self._receipt)
            files = held.get("files")
            kept = dict(files) if isinstance(files, dict) else {}
            kept[artifact.url] = {"name": artifact.name, **receipt["files"][artifact.name]}
            try:
                receipts.write_json(self._receipt, {**receipt, "files": kept})
            except OSError as error:
                _LOG.warning("%s: cannot be written: %s", self._receipt, error.strerror or error)


class _Bars:
    """Progress in TFDS's own bar, which counts MiB."""

    def __init__(self, bar: Any, size_bytes: int) -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._shown_mib = 0
        self._all_mib = size_bytes // _MIB
        bar.update_total(self._all_mib)

    # ARG002: the signature is that of `progress.Progress`.
    def update(self, file: str, source: str, received: int, total: int) -> None:  # noqa: ARG002
        """Moves the bar to the furthest attempt."""
        self._show(min(received // _MIB, self._all_mib))

    def note(self, text: str) -> None:
        """A warning."""
        _LOG.warning("%s", text)

    def done(self, file: str, source: str) -> None:
        """Nothing: `finish` moves the bar, also for a file from the cache."""

    def finish(self) -> None:
        """The file is here."""
        self._show(self._all_mib)

    def _show(self, mib: int) -> None:
        with self._lock:
            if mib > self._shown_mib:
                self._bar.update(mib - self._shown_mib)
                self._shown_mib = mib


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """A second name for the verified file, or a copy where there can be none."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
