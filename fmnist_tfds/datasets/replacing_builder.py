"""A TFDS builder that replaces a prepared folder only by a complete one; one preparer at a time.

Never imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from fmnist_tfds import version_folder
from fmnist_tfds.datasets import complete_info, preparation_lease, tfds_command, write_failures


class ReplacingBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Prepares beside what stands there, and swaps the two; safe beside other preparers.

    Subclasses' info is a `complete_info.Info`.

    Attributes:
        prepared_now: whether this very object prepared what is there.
        is_of_command: whether TFDS's build command made it.
    """

    # Preparing takes seconds; the rest of this bound is the other preparer's download.
    WAIT_S: ClassVar[float] = preparation_lease.WAIT_S

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # The folder to be replaced, while `data_dir` is another.
        self._final: str | None = None
        self.prepared_now = self.is_of_command = False

    def is_prepared(self) -> bool:
        """Whether the data set is there and complete; TFDS looks for two file names alone."""
        return not version_folder.fault(self.data_path, self.name, str(self.version))

    def download_and_prepare(
        self, *, download_dir: Any = None, download_config: Any = None, **kwargs: Any
    ) -> None:
        """Prepares the data set unless it is complete; safe beside other preparers.

        What stands in its place is replaced only by a data set that was read back and compared
        with the source: by `overwrite_dataset` it is deleted then, and a folder that holds no
        complete data set is kept beside as `remains.*`.

        Args:
            download_dir: folder for downloads; default: this package's cache.
            download_config: `tfds.download.DownloadConfig`.
            **kwargs: as `tfds.core.DatasetBuilder.download_and_prepare` takes them.

        Raises:
            ArgumentError: the file format cannot be proved, or no examples are asked for.
            FmnistError: the data could not be obtained, or data_dir cannot be written.
        """
        config = download_config or tfds.download.DownloadConfig()
        updates = config.download_mode == tfds.download.GenerateMode.UPDATE_DATASET_INFO
        overwrites = bool(config.download_mode.overwrite_dataset)
        if updates or not overwrites:
            why = version_folder.fault(self.data_path, self.name, str(self.version))
            if why and updates:
                raise complete_info.incomplete(self.data_path, why)
            if not why:
                if not self.info.splits:
                    self.info.read_from_directory(self.data_dir)
                super().download_and_prepare(
                    download_dir=download_dir, download_config=config, **kwargs
                )
                return
        complete_info.refuse(kwargs.get("file_format") or self.info.file_format, config)
        with self._sole_preparer(overwrites=overwrites):
            if not overwrites and self.is_prepared():
                self._adopt_prepared()
                return
            with self._obtained(download_dir, config) as ready:
                kwargs |= {"download_dir": download_dir, "download_config": ready}
                try:
                    self._prepare(kwargs, overwrites=overwrites)
                except (OSError, RuntimeError) as error:
                    self._survive(error)
            if not self.info.splits:
                # Another published in the moment before TFDS looked.
                self._adopt_prepared()

    def as_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """As TFDS's, but remains of a data set are refused by name."""
        self._refuse_remains()
        return super().as_dataset(*args, **kwargs)

    def as_data_source(self, *args: Any, **kwargs: Any) -> Any:
        """As TFDS's, but remains of a data set are refused by name."""
        self._refuse_remains()
        return super().as_data_source(*args, **kwargs)

    def _refuse_remains(self) -> None:
        if self.data_path.exists():
            why = version_folder.fault(self.data_path, self.name, str(self.version))
            if why:
                raise complete_info.incomplete(self.data_path, why)

    def _obtained(self, download_dir: Any, config: Any) -> contextlib.AbstractContextManager[Any]:
        """Makes the source files available; yields the config to prepare with."""
        del download_dir
        return contextlib.nullcontext(config)

    def _prepare(self, kwargs: dict[str, Any], *, overwrites: bool) -> None:
        """Prepares at the final place, or beside what stands there and then in its place."""
        final = self.data_path
        if not version_folder.stands(final):
            super().download_and_prepare(**kwargs)
            self.prepared_now = True
            return
        if not overwrites and self.is_prepared():
            self._adopt_prepared()
            return
        beside = version_folder.in_the_making(final)
        self._final = self.data_dir
        try:
            with tfds.core.utils.temporary_assignment(self, "_data_dir", str(beside)):
                super().download_and_prepare(**kwargs)
            if not overwrites and self.is_prepared():
                self._adopt_prepared()
                return
            version_folder.swap(beside, final, keep=not overwrites)
        finally:
            self._final = None
            version_folder.discard(beside)
        self.prepared_now = True
        self.info.update_data_dir(self.data_dir)
        self._log_download_done()

    # TFDS prints the folder twice; meant is the final one, once it is there.
    def _log_download_bytes(self) -> None:
        final = self._final or self.data_dir
        with tfds.core.utils.temporary_assignment(self, "_data_dir", final):
            super()._log_download_bytes()

    def _log_download_done(self) -> None:
        if self._final is None:
            super()._log_download_done()

    @contextlib.contextmanager
    def _sole_preparer(self, *, overwrites: bool) -> Iterator[None]:
        """Waits, within bounds, until no other process prepares this, or one has."""
        folder = pathlib.Path(str(self.data_path)).parent
        self._claim = preparation_lease.Claim(folder / f".{self.version}.preparing")
        # Object stores have no exclusive creation; the last preparer wins there.
        if "://" not in str(self.data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._claim.acquire(
                    lambda: not overwrites and self.is_prepared(), wait_s=self.WAIT_S
                )
                if self._claim.is_held:
                    self._clear_up()
            except OSError as error:
                self._claim.release()
                raise write_failures.unwritable(folder, error) from error
        try:
            yield
        finally:
            self._claim.release()

    def _clear_up(self) -> None:
        """Restores what a killed preparer was replacing; removes what others left unfinished."""
        final, version = self.data_path, str(self.version)
        if self.is_prepared() or version_folder.put_back(final, self.name, version):
            for old in version_folder.replaced(final):
                version_folder.discard(old)
        version_folder.sweep(final, self._claim.orphans, now_s=self._claim.now_s)

    def _survive(self, error: OSError | RuntimeError) -> None:
        """Another preparer published first (its result is as good), or the disk failed."""
        if write_failures.lost_race(error) and self.is_prepared():
            self._adopt_prepared()
            return
        failure = write_failures.disk_failure(error)
        if failure is None:
            raise error
        raise write_failures.unwritable(pathlib.Path(str(self.data_dir)), failure) from error

    def _adopt_prepared(self) -> None:
        logging.info("Reusing %s: another process has prepared %s", self.name, self.data_dir)
        self.info.read_from_directory(self.data_dir)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # TFDS's unfinished folder stands in for the final one here.
        self._claim.note(pathlib.Path(str(self.data_path)))
        super()._download_and_prepare(dl_manager=dl_manager, download_config=download_config)


# Under `tfds build` the command is imported before the data sets are.
tfds_command.spare(ReplacingBuilder)
