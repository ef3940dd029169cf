"""The data sets of the family: one entry each, which holds all facts of that data set.

The entries lie as `catalog.toml` in the TFDS dataset folders (`datasets/*/`) and are read when this
module is imported: nothing else has to be written for a new one. Digests stand in the entries and
nowhere else (`checksums.tsv`, which TFDS wants, is compared with them by a test).

Source: http://yann.lecun.com/exdb/mnist/ defines the IDX format.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib
from typing import Any, Literal

from fmnist_tfds import artifacts, errors

IMAGE_SIZE = 28
NUM_CLASSES = 10

Split = Literal["train", "test"]
Kind = Literal["images", "labels"]
Form = Literal["gz", "canonical", "payload", "other"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile(artifacts.Artifact):
    """A gzip member around one IDX payload: an artifact that is proved by its payload as well.

    Attributes:
        name: canonical file name, ending in ".gz".
        size_bytes: size of the canonical .gz in bytes; 0 where no canonical .gz exists.
        sha256: its digest, hexadecimal; "" where no canonical .gz exists.
        url: where its publisher serves it, or "".
        split: "train" or "test".
        kind: "images" (uint8[n, 28, 28]) or "labels" (uint8[n]).
        shape: dimensions of the payload's array.
        payload_bytes: size of the decompressed IDX file in bytes.
        payload_sha256: its digest, hexadecimal.
        gzip_mtime: the time in the canonical gzip header, seconds since 1970.
    """

    split: Split
    kind: Kind
    shape: tuple[int, ...]
    payload_bytes: int
    payload_sha256: str
    gzip_mtime: int = 0

    @property
    def expected_bytes(self) -> int:
        """The size of the .gz, or of the payload where no canonical .gz exists."""
        return self.size_bytes or self.payload_bytes

    @property
    def largest_bytes(self) -> int:
        """The size of the .gz or of the payload, whichever is larger."""
        return max(self.size_bytes, self.payload_bytes)

    @property
    def cache_name(self) -> str:
        """Its own name: a catalog's files lie together in a folder of their own."""
        return self.name

    @property
    def payload_name(self) -> str:
        """The file's name once decompressed."""
        return self.name.removesuffix(".gz")


@dataclasses.dataclass(frozen=True, slots=True)
class ToolFolder:
    """One place where another tool keeps the data set.

    Attributes:
        tool: whose; "git" is a checkout of the publisher's repository.
        folder: below the tool's root; a pattern where the name varies.
        form: of the four files there: "gz" (any genuine gzip), "canonical" (the tool checks the
            hash of the .gz), "payload"; or "other", a container that only `adopt` reads.
        usage: the tool's own line once the files are planted, "{root}" to be filled in; "" where
            nothing is planted.
    """

    tool: str
    folder: str
    form: Form
    usage: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Catalog(artifacts.ArtifactSet):
    """One data set of the MNIST family.

    Attributes:
        name: short name, also the default folder name in caches.
        title: name for people.
        files: the four files: train images, train labels, test images, test labels.
        mirrors: public base URLs or templates holding "{filename}", best first.
        impostors: what else arrives under these file names.
        class_names: ten names, index = label.
        is_generated: whether its images are drawn by a program and are no recorded data; no mirror
            then has it, and whatever is made with it says so.
        homepage: where its publisher describes it.
        license: name of the licence and its holder, one line.
        license_text: the licence in full; "" where the line says enough.
        citation: BibTeX.
        pixel_statistics: mean and standard deviation of the training split's pixels, in units of
            one pixel value (0 to 255); None where they are measured.
        stock_name: TFDS's own data set of the same examples, in another order; "" if none.
        moved: pairs of a dead address that people still configure and the one that works.
        tool_folders: where other tools keep it, the likeliest first.
    """

    files: tuple[SourceFile, ...]
    class_names: tuple[str, ...]
    is_generated: bool = False
    homepage: str = ""
    license: str = ""
    license_text: str = ""
    citation: str = ""
    pixel_statistics: tuple[float, float] | None = None
    stock_name: str = ""
    moved: tuple[tuple[str, str], ...] = ()
    tool_folders: tuple[ToolFolder, ...] = ()

    def __repr__(self) -> str:
        """Short: it stands as a default in the signatures that help() prints."""
        return f"<{self.title}>"

    @property
    def cache_folder(self) -> str:
        """The folder in the cache where its files lie."""
        return self.name

    @property
    def data_name(self) -> str:
        """What figures made with it name as their data: "synthetic" where it is generated."""
        return "synthetic" if self.is_generated else self.name

    def file(self, name: str) -> SourceFile:
        """The file of that canonical name, with or without ".gz"; KeyError if there is none."""
        for file in self.files:
            if name in (file.name, file.payload_name):
                return file
        raise KeyError(name)

    def part(self, split: Split, kind: Kind) -> SourceFile:
        """The file that holds the images or labels of one split."""
        return next(f for f in self.files if f.split == split and f.kind == kind)

    def plantable(self) -> dict[str, ToolFolder]:
        """Tool -> where `plant` puts the files for it."""
        return {folder.tool: folder for folder in self.tool_folders if folder.usage}


def read(path: pathlib.Path) -> Catalog:
    """The entry that a `catalog.toml` holds; its keys are the attributes above.

    Raises:
        ConfigError: it is no TOML, a key is unknown or missing, or a file of the four.
        OSError: it cannot be read.
    """
    try:
        entry = _entry(tomllib.loads(path.read_text(encoding="utf-8")))
        parts = sorted((file.split, file.kind) for file in entry.files)
        if parts != [(s, k) for s in ("test", "train") for k in ("images", "labels")]:
            raise ValueError(f"files: expected images and labels of train and test, got {parts}")
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # TOMLDecodeError too
        raise errors.ConfigError(
            f"{path}: not an entry of the catalog: {error}",
            hint="fmnist_tfds/datasets/fmnist_resilient/catalog.toml is a whole one",
        ) from error
    return entry


def _entry(table: dict[str, Any]) -> Catalog:
    # Tuples throughout: an entry is a value that can be compared and hashed.
    tables: dict[str, Any] = {
        "files": tuple(_file(**row) for row in table.pop("files")),
        "impostors": tuple(_impostor(**row) for row in table.pop("impostors", ())),
        "tool_folders": tuple(ToolFolder(**row) for row in table.pop("tool_folders", ())),
        "moved": tuple((old, new) for old, new in table.pop("moved", ())),
    }
    plain = {key: tuple(it) if isinstance(it, list) else it for key, it in table.items()}
    return Catalog(**(tables | plain))


def _file(*, shape: list[int], **row: Any) -> SourceFile:
    return SourceFile(**{"size_bytes": 0, "sha256": "", **row}, shape=tuple(shape))


def _impostor(
    *, digests: list[str], places: list[str] | None = None, **row: str
) -> artifacts.Impostor:
    """`digests` are texts "sha256:HEX"."""
    pairs = [text.partition(":") for text in digests]
    known = frozenset((kind, hex_) for kind, _, hex_ in pairs)
    return artifacts.Impostor(**row, digests=known, places=tuple(places or ()))


# TFDS data set name -> entry. A dataset folder elsewhere adds its own when its builder is defined.
DATASETS: dict[str, Catalog] = {
    path.parent.name: read(path)
    for path in sorted(pathlib.Path(__file__).parent.glob("datasets/*/catalog.toml"))
}
FASHION_MNIST = DATASETS["fmnist_resilient"]
FASHION_MNIST_SYNTHETIC = DATASETS["fmnist_synthetic"]
assert FASHION_MNIST.pixel_statistics is not None
# What pixels are normalised by where no data set is named.
FASHION_MNIST_STATISTICS = FASHION_MNIST.pixel_statistics
