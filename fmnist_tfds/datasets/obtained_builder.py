"""A builder that obtains four verified files, from mirrors or a folder, and hands them to TFDS.

The way in is `download_and_prepare`: the files are obtained first and passed as TFDS's manual_dir,
so they are asked for in the textbook way, TFDS hashes them again by the digests of the catalog's
entry, and none of TFDS's own network code runs.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.core.utils import tqdm_utils

from fmnist_tfds import catalog
from fmnist_tfds.config import loader
from fmnist_tfds.datasets import ordered_builder
from fmnist_tfds.download import progress
from fmnist_tfds.formats import identify, idx

_RECEIPT = "receipt.json"


class ObtainedBuilder(ordered_builder.OrderedBuilder, skip_registration=True):
    """A data set of the family whose files are published somewhere.

    A subclass sets DATASET, the catalog's entry, and MANUAL_DOWNLOAD_INSTRUCTIONS.

    Args of the constructor, besides TFDS's own (`builder_kwargs` of `tfds.load`):
        mirrors: list of mirrors, as names, URLs or folders; see README.
        config_file: TOML file with mirrors, proxies and certificates.
    """

    def __init__(
        self, *, mirrors: Any = None, config_file: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._mirrors = mirrors
        self._config_file = config_file
        self._files: dict[str, pathlib.Path] = {}
        self._is_canonical = True
        self._receipt: dict[str, Any] = {}
        # TFDS pickles a builder as the arguments of its constructor.
        self._original_state |= {"mirrors": mirrors, "config_file": config_file}

    @classmethod
    def _urls(cls) -> dict[str, str]:
        """File name -> the URL by which TFDS is asked for it. Nothing is ever sent there."""
        base = cls.DATASET.mirrors[0] if cls.DATASET.mirrors else ""
        return {file.name: base + file.name for file in cls.DATASET.files}

    @tfds.core.utils.classproperty
    @classmethod
    def url_infos(cls) -> dict[str, Any]:
        """TFDS's digests of those URLs: the catalog's, so that a new data set needs no
        checksums.tsv (TFDS reads such a file; `--register_checksums` writes it)."""
        urls = cls._urls()
        return {
            urls[file.name]: checksums.UrlInfo(
                size=file.size_bytes, checksum=file.sha256, filename=file.name
            )
            for file in cls.DATASET.files
        }

    def _arrays(self, dl_manager: Any) -> dict[str, Any]:
        files = {file.name: file for file in self.DATASET.files}
        if self._is_canonical:
            paths = dl_manager.download(self._urls())
        else:
            # Genuine by payload, but its canonical gz could not be made: our digest is the proof.
            logging.warning("The gz files are not the canonical ones; the payloads are proved.")
            paths = self._files
        # zlib and hashlib let other threads run: the two cores share the gunzip and the proof.
        with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="fmnist-tfds") as pool:
            arrays = dict(
                zip(
                    files,
                    pool.map(lambda name: _array(paths[name], files[name], self.DATASET), files),
                    strict=True,
                )
            )
        return {
            split: tuple(arrays[self.DATASET.part(split, kind).name] for kind in _KINDS)
            for split in _SPLITS
        }

    @contextlib.contextmanager
    def _obtained(self, download_dir: Any, config_: Any) -> Iterator[Any]:
        from fmnist_tfds import obtain  # it imports requests: 0.1 s that `--help` need not wait

        settings = loader.load(
            mirrors=self._mirrors,
            config_file=self._config_file,
            manual_dir=config_.manual_dir or self._tfds_manual_dir(download_dir),
            cache_dir=pathlib.Path(str(download_dir)) / "fmnist_tfds" if download_dir else None,
            dataset=self.DATASET,
        )
        # TFDS's own maker of bars: tfds.disable_progress_bar() holds for this one too.
        with progress.shown(tqdm_utils.tqdm) as report:
            outcome = obtain.obtain(settings, dataset=self.DATASET, progress=report)
        if outcome.error is not None:
            flag = {"manual_dir": "--manual_dir"} if self.is_of_command else {}
            outcome.error.arguments = _SPELLED | flag
            raise outcome.error
        self._receipt = outcome.receipt
        with one_folder(
            {name: file.path for name, file in outcome.files.items() if file.path}
        ) as folder:
            self._files = {name: folder / name for name in outcome.files}
            self._is_canonical = all(
                outcome.files[file.name].sha256 == file.sha256 for file in self.DATASET.files
            )
            yield dataclasses.replace(config_, manual_dir=folder, try_download_gcs=False)

    def _tfds_manual_dir(self, download_dir: Any) -> pathlib.Path | None:
        """TFDS's own manual folder, where one of the files lies in it."""
        root = pathlib.Path(str(download_dir or self.data_dir_root / "downloads"))
        manual = root.expanduser() / "manual"
        held = any(
            (manual / name).exists()
            for file in self.DATASET.files
            for name in (file.name, file.payload_name)
        )
        return manual if held else None

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        super()._download_and_prepare(dl_manager=dl_manager, download_config=download_config)
        text = json.dumps(self._receipt, indent=2) + "\n"
        (self.data_path / _RECEIPT).write_text(text, encoding="utf-8")


# Where a caller of tfds.load sets what the command line calls by these flags.
_SPELLED = {
    "manual_dir": "DownloadConfig(manual_dir=…)",
    "mirrors": "builder_kwargs={'mirrors': …}",
    "config_file": "builder_kwargs={'config_file': …}",
    "cache_dir": "FMNIST_TFDS_CACHE_DIR",
    "deadline_s": "FMNIST_TFDS_DEADLINE_S",
    "offline": "FMNIST_TFDS_OFFLINE",
}
_KINDS: tuple[catalog.Kind, ...] = ("images", "labels")
_SPLITS: tuple[catalog.Split, ...] = ("train", "test")


def _array(path: Any, file: catalog.SourceFile, dataset: catalog.Catalog) -> Any:
    """What a proved file holds: uint8 of the file's shape."""
    where = pathlib.Path(str(path))
    return idx.decode(
        identify.payload(where, dataset=dataset, expected=file), file.shape, name=str(where)
    )


@contextlib.contextmanager
def one_folder(paths: dict[str, pathlib.Path]) -> Iterator[pathlib.Path]:
    """One folder that holds every file under its canonical name; of links where they lie apart."""
    folders = {path.parent for path in paths.values()}
    if len(folders) == 1 and all(path.name == name for name, path in paths.items()):
        yield folders.pop()
        return
    with tempfile.TemporaryDirectory(prefix="fmnist_tfds-") as scratch:
        for name, path in paths.items():
            target = pathlib.Path(scratch) / name
            try:
                target.symlink_to(path.absolute())
            except OSError:
                logging.info("%s cannot be linked; copying it.", path)
                shutil.copyfile(path, target)
        yield pathlib.Path(scratch)
