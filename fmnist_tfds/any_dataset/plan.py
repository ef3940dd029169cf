"""How any file that TFDS pins is obtained: the plan of mirrors, and TFDS's pins as artifacts.

Needs only what TFDS pins for a URL: size and sha256. Imports no TFDS.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import posixpath
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Protocol

from fmnist_tfds import artifacts, errors, obtain
from fmnist_tfds.config import loader, rewrites, settings, urls
from fmnist_tfds.download import progress, results

# What "default" means here: where the publisher serves the file.
ORIGINAL = "{url}"
ANY = artifacts.ArtifactSet(name="any", title="any data set", files=(), mirrors=(ORIGINAL,))
BY_HASH = "by-hash/sha256"
# Ten minutes suit files of 30 MB; a larger one gets as long as it takes at this speed.
_SLOW_BYTES_PER_S = 100_000
_LOOKED_AT = 4


class UrlInfo(Protocol):
    """What TFDS pins for one URL (`tfds.core.download.checksums.UrlInfo`)."""

    size: int
    checksum: str
    filename: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class ExactMirror(settings.Mirror):
    """A source whose URL is that of the one file that is asked of it."""

    def url_for(self, file: artifacts.Artifact) -> str:  # noqa: ARG002 (Mirror's signature)
        """The URL itself."""
        return self.url


@dataclasses.dataclass(frozen=True, slots=True)
class OriginalHost(settings.Mirror):
    """The publisher's host of some files, each at its own URL: for the doctor."""

    def url_for(self, file: artifacts.Artifact) -> str:
        """The original URL."""
        return file.url

    def lacks(self, file: artifacts.Artifact) -> str:
        """The word for what it has not, of a file of another host."""
        return "" if urllib.parse.urlsplit(file.url).netloc in self.url else "url"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How artifacts are obtained: the settings, made once, used for every URL.

    Attributes:
        options: effective settings; a mirror whose URL is "{url}" stands for the original URL.
    """

    options: settings.Settings

    def sources(
        self, artifact: artifacts.Artifact, *, verify_tls: bool = True
    ) -> settings.Settings:
        """The settings for one artifact: every mirror with the URLs that the file may have there.

        Args:
            artifact: what is wanted.
            verify_tls: False where the caller of TFDS asked for `verify_ssl=False`; it holds for
                the original URL alone.
        """
        found: list[settings.Mirror] = []
        for mirror in self.options.mirrors:
            if mirror.url == ORIGINAL:
                found += self._original(artifact, verify_tls=verify_tls)
            else:
                # A store that names files by a digest that TFDS does not pin cannot be asked.
                found += [each for each in _asked(mirror) if not each.lacks(artifact)]
        return dataclasses.replace(
            self.options, mirrors=tuple(found), network=self._network(artifact)
        )

    def _original(self, artifact: artifacts.Artifact, *, verify_tls: bool) -> list[settings.Mirror]:
        rewritten = rewrites.apply(
            settings.Mirror(url=artifact.url), self.options.rewrites, self.options.named
        )
        if rewritten:
            return [_exactly(mirror) for mirror in rewritten]
        if is_ours(artifact.url):
            return [ExactMirror(url=artifact.url, insecure_tls=not verify_tls)]
        return []

    def leaves_to_tfds(self, url: str) -> bool:
        """True if TFDS may fetch `url` itself, where no mirror has it."""
        asks_original = any(mirror.url == ORIGINAL for mirror in self.options.mirrors)
        return asks_original and not self.options.offline and not is_ours(url)

    def examined(
        self, wanted: artifacts.ArtifactSet
    ) -> tuple[settings.Settings, artifacts.ArtifactSet]:
        """For the doctor: each mirror and each original host once, and a few files of each host.

        Args:
            wanted: all that the data set downloads.
        """
        by_host: dict[str, list[artifacts.Artifact]] = {}
        for file in sorted(wanted.files, key=lambda each: each.size_bytes):
            by_host.setdefault(urllib.parse.urlsplit(file.url).netloc, []).append(file)
        few = tuple(file for files in by_host.values() for file in files[:_LOOKED_AT])
        mirrors: list[settings.Mirror] = []
        for mirror in self.options.mirrors:
            if mirror.url != ORIGINAL:
                mirrors += _asked(mirror)
                continue
            for files in by_host.values():
                scheme, host, *_ = urllib.parse.urlsplit(files[0].url)
                if is_ours(files[0].url):
                    mirrors.append(OriginalHost(url=f"{scheme}://{host}/"))
        options = dataclasses.replace(self.options, mirrors=tuple(mirrors))
        return options, dataclasses.replace(wanted, files=few)

    def obtain(
        self,
        artifact: artifacts.Artifact,
        *,
        dataset: str,
        manual_dir: pathlib.Path | None = None,
        report: progress.Progress | None = None,
        out: pathlib.Path | None = None,
        verify_tls: bool = True,
    ) -> results.Result:
        """Obtains one artifact; what failed stands in the result, it is not raised.

        Args:
            artifact: what is wanted.
            dataset: name of the data set, for people and receipts.
            manual_dir: folder to search where the settings name none.
            report: receives progress.
            out: folder that gets a copy.
            verify_tls: as for `sources`.
        """
        wanted = artifacts.ArtifactSet(name=dataset, title=dataset, files=(artifact,))
        options = self.sources(artifact, verify_tls=verify_tls)
        options = dataclasses.replace(options, manual_dir=options.manual_dir or manual_dir)
        return obtain.obtain(options, dataset=wanted, out=out, progress=report)

    def _network(self, artifact: artifacts.Artifact) -> settings.Network:
        network = self.options.network
        if self.options.origins.get("network.deadline_s") != "default":
            return network
        longer_s = network.deadline_s + artifact.size_bytes / _SLOW_BYTES_PER_S
        return dataclasses.replace(network, deadline_s=longer_s)


def _asked(mirror: settings.Mirror) -> list[settings.Mirror]:
    """What a mirror of the list stands for: `mirror create` puts every file under its digest."""
    if urls.is_template(mirror.url):
        return [mirror]
    base, mark, query = mirror.url.partition("?")
    by_hash = f"{base.rstrip('/')}/{BY_HASH}/{{sha256}}{mark}{query}"
    return [dataclasses.replace(mirror, url=by_hash), mirror]


def _exactly(mirror: settings.Mirror) -> ExactMirror:
    return ExactMirror(**{f.name: getattr(mirror, f.name) for f in dataclasses.fields(mirror)})


def make(
    *,
    mirrors: str | Iterable[str | settings.Mirror] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    deadline_s: float | None = None,
    offline: bool | None = None,
) -> Plan:
    """The plan that arguments, environment and TOML file make.

    Args:
        mirrors: the mirror list; "default" is the original URL. Absent: the original URL alone.
        config_file: TOML file with mirrors, proxies, certificates, rewrites.
        manual_dir: folder whose files are taken by their digests before the network is asked.
        cache_dir: where verified files are kept, by digest.
        deadline_s: seconds for each file; absent: 600, and one more for every 100 kB.
        offline: open no socket.

    Raises:
        ConfigError: a setting is wrong.
    """
    return Plan(
        loader.load(
            mirrors=mirrors,
            config_file=config_file,
            manual_dir=manual_dir,
            cache_dir=cache_dir,
            deadline_s=deadline_s,
            offline=offline,
            dataset=ANY,
        )
    )


def is_ours(url: str) -> bool:
    """True if the original `url` can be fetched here: plain HTTP without a page to confirm."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in urls.HTTP_SCHEMES and parts.hostname != "drive.google.com"


def artifact_of(url: str, info: UrlInfo | None) -> artifacts.Artifact | None:
    """The artifact that TFDS pins for `url`; None where it pins none."""
    if info is None or not info.checksum:
        return None
    return artifacts.Artifact(
        name=file_name(url, info), size_bytes=int(info.size), sha256=info.checksum, url=url
    )


def file_name(url: str, info: UrlInfo | None) -> str:
    """The file's name: as TFDS recorded it, else the last part of the URL's path."""
    recorded = posixpath.basename((info.filename if info else None) or "")
    return recorded or posixpath.basename(urllib.parse.urlsplit(url).path) or "download"


def artifact_set(name: str, infos: Mapping[str, UrlInfo]) -> artifacts.ArtifactSet:
    """All that one data set downloads; files of one name are told apart by their digests.

    Raises:
        ConfigError: TFDS pins no URL of that data set.
    """
    files: dict[str, artifacts.Artifact] = {}
    for url, info in sorted(infos.items()):
        if (file := artifact_of(url, info)) is None:
            continue
        if file.name in files and files[file.name].sha256 == file.sha256:
            continue  # one file at two addresses
        if file.name in files:
            file = dataclasses.replace(file, name=f"{file.sha256[:12]}-{file.name}")
        files[file.name] = file
    if not files:
        raise errors.ConfigError(
            f"TFDS pins no download of {name!r} by size and sha256",
            hint="it is manual, or TFDS generates it by other means: use TFDS itself",
        )
    return artifacts.ArtifactSet(name=name, title=name, files=tuple(files.values()))
