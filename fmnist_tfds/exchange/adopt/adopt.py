"""The data in any container -> the four files, each proved by its payload digest.

Nothing is trusted: names, extensions and headers only say where to look. Everything is staged in
a private folder inside the target and published file by file once all four are proved.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from fmnist_tfds import atomic_file, catalog, errors
from fmnist_tfds.download.cache import receipts
from fmnist_tfds.exchange.adopt import (
    archives,
    containers,
    gathering,
    leaf,
    npy,
    png_files,
    row_order,
)
from fmnist_tfds.formats import gzip_file

_MAX_DEPTH = 6
_NOTES_SHOWN = 3
_TELLING_SUFFIXES = (".gz", ".npz", ".npy", ".csv", ".arff", ".parquet", ".zip", ".tar", ".pkl")


@dataclasses.dataclass(frozen=True, slots=True)
class Adoption:
    """What was adopted.

    Attributes:
        files: canonical name -> the file in the target folder.
        form: the containers the data was found in, for people.
        receipt: where each file came from, as JSON values; also in receipt.json beside the files.
    """

    files: dict[str, pathlib.Path]
    form: str
    receipt: dict[str, Any]


def adopt(
    path: pathlib.Path,
    target: pathlib.Path,
    *,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
    table: row_order.RowTable | None = None,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> Adoption:
    """Finds the data in a file, archive or folder and writes the four proved files.

    Args:
        path: a file, an archive or a folder that holds the data in any form.
        target: the folder for the four .gz and receipt.json; made if it is missing.
        dataset: which data set it must be.
        table: the original order of the rows; default: the table that ships with the package.
        now: the clock.

    Raises:
        ArgumentError: the path is neither a file nor a folder.
        ContentError: the path does not hold the data; the message says what was found.
        ArchiveError: an archive is refused: traversal, link, device, duplicate, bomb, pickle.
        MissingExtraError: only parquet was found and pyarrow is not installed.
        StoreError: the path cannot be read or the target not written.
    """
    path, target = pathlib.Path(path), pathlib.Path(target)
    with _staging(target) as staging:
        search = _Search(path, dataset, table or row_order.shipped(dataset), staging)
        search.run()
        proofs = search.proved()
        receipt = _receipt(path, proofs, dataset, staging, now())
        for name in (*proofs, receipts.NAME):
            atomic_file.publish(staging / name, target / name)
    form = " + ".join(dict.fromkeys(proofs[file.name].form for file in dataset.files))
    return Adoption({f.name: target / f.name for f in dataset.files}, form, receipt)


class _Search:
    """One walk over a path; stops as soon as all four files are proved."""

    def __init__(
        self,
        path: pathlib.Path,
        dataset: catalog.Catalog,
        table: row_order.RowTable | None,
        staging: pathlib.Path,
    ) -> None:
        self._path = path
        self._dataset = dataset
        self._found = gathering.Gathering(dataset, table)
        self._work = containers.Adopting(
            self._found,
            npy.Pairing(self._found),
            png_files.PngTree(self._found),
            leaf.Limits(dataset, staging / "unpacked"),
        )
        self._notes: list[errors.FmnistError] = []
        # What is not read: what it is -> the names of such files, the first of them to be shown.
        self._passed_over: dict[str, list[str]] = collections.defaultdict(list)
        self._unknown = 0
        self._telling = {n for f in dataset.files for n in (f.name, f.payload_name)}

    def run(self) -> None:
        """Reads leaf after leaf."""
        if self._path.is_dir():
            for path in archives.files_below(self._path, self._dataset, self._pass_over):
                self._work.limits.renew()
                with self._noted():
                    name = str(path.relative_to(self._path))
                    self._take(leaf.of_file(path, name, str(path.parent)), 0)
                if self._found.is_complete:
                    return
        elif self._path.is_file():
            self._take(leaf.of_file(self._path, self._path.name, str(self._path.parent)), 0)
        else:
            what = "neither a file nor a folder" if self._path.exists() else "it does not exist"
            if self._path.is_symlink() and not self._path.exists():
                what = f"a link to {self._path.readlink()}, where there is nothing"
            raise errors.ArgumentError(f"{self._path}: {what}")
        if not self._found.is_complete:
            with self._noted():
                self._work.pngs.flush()
            self._work.pairing.close()

    def proved(self) -> dict[str, gathering.Proof]:
        """The four proofs.

        Raises:
            ContentError: not all four were found; ArchiveError where an archive was refused.
            MissingExtraError: a file could not be read for want of pyarrow.
        """
        if self._found.is_complete:
            return self._found.proofs
        for note in self._notes:
            if isinstance(note, errors.MissingExtraError):
                raise note
        if self._notes and all(isinstance(note, errors.StoreError) for note in self._notes):
            raise self._notes[0]
        found = [
            *dict.fromkeys(note.message for note in self._notes),
            *self._found.unknown_rows,
            *(
                f"{names[0]}: {what}" if len(names) == 1 else f"{len(names):,} files: {what}"
                for what, names in self._passed_over.items()
            ),
        ]
        shown = found[:_NOTES_SHOWN]
        if len(found) > len(shown):
            shown.append(f"and {len(found) - len(shown):,} more such files")
        if self._unknown:
            shown.append(f"{self._unknown:,} files of no form that is read here")
        nothing = not self._found.proofs and not self._found.has_rows
        if not (nothing and found):
            shown.append(self._found.shortfall())
            # Where images are others, the labels are not to blame.
            if self._work.pairing.assumed and not self._found.unknown_rows:
                shown.append(self._work.pairing.assumed)
        refused = any(isinstance(note, errors.ArchiveError) for note in self._notes)
        raise (errors.ArchiveError if refused else errors.ContentError)(
            f"{self._path} does not hold {self._dataset.title}: {'; '.join(shown)}",
            hint=f"these forms are taken: {containers.taken()}"
            if nothing or found
            else "point at the folder or archive that holds both splits",
        )

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Remembers a refusal: what lies beside the refused file may still be complete."""
        try:
            yield
        except (errors.ContentError, errors.MissingExtraError, errors.StoreError) as error:
            self._notes.append(error)

    def _take(self, file: leaf.Leaf, depth: int) -> None:
        with self._noted():
            if depth > _MAX_DEPTH:
                raise errors.ArchiveError(f"{file.name}: nested more than {_MAX_DEPTH} deep")
            form = containers.of(file)
            if form.members is not None:
                with contextlib.closing(form.members(file, self._work.limits)) as members:
                    for member in members:
                        self._take(member, depth + 1)
                        if self._found.is_complete:
                            return
            elif form.read is None:
                self._pass_over_leaf(file, form)
            elif file.size > self._work.limits.stream_bytes:
                raise errors.ContentError(
                    f"{file.name}: {file.size:,} bytes are more than this data set takes in any "
                    "form"
                )
            else:
                form.read(file if form.name == "PNG" else file.inside(form.name), self._work)

    def _pass_over(self, name: str, what: str) -> None:
        self._passed_over[what].append(name)

    def _pass_over_leaf(self, file: leaf.Leaf, form: containers.Format) -> None:
        base = file.name.replace("!", "/").rpartition("/")[2]
        is_asked_for = self._path.is_file() and "!" not in file.name
        if (
            form.refusal
            or is_asked_for
            or base in self._telling
            or (base.lower().endswith(_TELLING_SUFFIXES))
        ):
            self._pass_over(file.name, containers.refusal(file))
        else:
            self._unknown += 1


def _receipt(
    path: pathlib.Path,
    proofs: dict[str, gathering.Proof],
    dataset: catalog.Catalog,
    staging: pathlib.Path,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Writes the four .gz and receipt.json into the staging folder; returns the receipt."""
    records: dict[str, receipts.FileRecord] = {}
    for file in dataset.files:
        proof, staged = proofs[file.name], staging / file.name
        if proof.gz is not None:
            staged.write_bytes(proof.gz)
            is_canonical = True
        else:
            is_canonical = gzip_file.write(proof.payload, file, staged)
            if not is_canonical:
                gzip_file.write_own(proof.payload, file, staged)
        records[file.name] = {
            "source": f"adopted:{path.absolute()}",
            "member": proof.origin,
            "form": proof.form,
            "rows_restored": proof.restored,
            "file_sha256": hashlib.sha256(staged.read_bytes()).hexdigest(),
            **receipts.facts(file, canonical_gz=is_canonical, now=now),
        }
    receipt = receipts.assemble(records, dataset=dataset)
    receipts.write_json(staging / receipts.NAME, receipt)
    return receipt


@contextlib.contextmanager
def _staging(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private folder inside the target; what was made is removed again on failure."""
    made = [p for p in (target, *target.parents) if not p.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        staging = pathlib.Path(tempfile.mkdtemp(prefix=".adopt-", dir=target))
    except OSError as error:
        raise errors.unwritable(target, error) from error
    succeeded = False
    try:
        yield staging
        succeeded = True
    except OSError as error:
        raise errors.StoreError(f"{target}: adopting failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not succeeded:
            for folder in made:
                with contextlib.suppress(OSError):  # another process put something there
                    folder.rmdir()
