"""Files to obtain, pinned by size and digest, and sets of them. Pure data, imports nothing."""

from __future__ import annotations

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One published file, pinned by size and digest: all that obtaining it needs to know.

    Attributes:
        name: file name, without a folder.
        size_bytes: its size in bytes; 0 where only the payload of a .gz is pinned.
        sha256: its digest, hexadecimal; "" where only the payload of a .gz is pinned.
        url: where its publisher serves it, or "".
        md5: another digest, as some stores name files; "" where not known.
        sha1: likewise.
        sha1_git: its name as a Git blob; "" where not known.
    """

    name: str
    size_bytes: int
    sha256: str
    url: str = ""
    md5: str = ""
    sha1: str = ""
    sha1_git: str = ""

    def placeholders(self) -> dict[str, str]:
        """What the placeholders of a mirror's template stand for; "" for what is not known."""
        return {
            "filename": self.name,
            "sha256": self.sha256,
            "md5": self.md5,
            "sha1": self.sha1,
            "sha1_git": self.sha1_git,
            "size": str(self.size_bytes) if self.size_bytes else "",
            "url_sha256": hashlib.sha256(self.url.encode()).hexdigest() if self.url else "",
        }

    @property
    def expected_bytes(self) -> int:
        """The size that a download of it most likely has."""
        return self.size_bytes

    @property
    def largest_bytes(self) -> int:
        """The size of its largest form, in bytes."""
        return self.size_bytes

    @property
    def cache_name(self) -> str:
        """Its name in a cache: the digest, for names clash between data sets."""
        return self.sha256


@dataclasses.dataclass(frozen=True, slots=True)
class Impostor:
    """A data set that is often served under the same file names.

    Attributes:
        verdict: what identify says, "impostor:<id>".
        title: what it is, for people.
        digests: pairs (hash name of hashlib, hexadecimal digest) over the .gz or the payload.
        places: parts of the addresses, without their scheme, that are known to serve it.
    """

    verdict: str
    title: str
    digests: frozenset[tuple[str, str]]
    places: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSet:
    """Files that are obtained together, such as what one TFDS data set downloads.

    Attributes:
        name: short name.
        title: name for people.
        files: what is obtained; their names differ.
        mirrors: public base URLs or templates holding "{filename}", best first.
        impostors: what else arrives under these file names.
    """

    name: str
    title: str
    files: tuple[Artifact, ...]
    mirrors: tuple[str, ...] = ()
    impostors: tuple[Impostor, ...] = ()

    @property
    def cache_folder(self) -> str:
        """The folder in the cache where its files lie: one for all artifacts, named by digest."""
        return "artifacts"

    def file(self, name: str) -> Artifact:
        """The file of that name; KeyError if there is none."""
        for file in self.files:
            if file.name == name:
                return file
        raise KeyError(name)
