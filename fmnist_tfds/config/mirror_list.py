"""Parses the mirror list; arguments, environment and TOML share this one grammar.

Used by `config` alone. Looks on disk only whether an entry is a folder.
"""

from __future__ import annotations

import pathlib
import urllib.parse
from collections.abc import Iterable, Mapping

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import schema, settings, toml_file, urls

_FOLDER_MARKS = ("/", "\\", ".", "{")


def expand(
    listed: str | Iterable[str | settings.Mirror],
    named: Mapping[str, settings.Mirror],
    origin: str,
    dataset: artifacts.ArtifactSet,
) -> tuple[tuple[settings.Mirror, ...], bool, tuple[str, ...]]:
    """The mirrors that a list names, whether it says "off", and remarks for the user.

    Args:
        listed: as text, cut at its commas, or as its entries.
        named: the mirrors of the TOML file.
        origin: where the list stands, for people.
        dataset: whose public mirrors "default" means.

    Raises:
        ConfigError: an entry is invalid or contradicts another; one that may be the rest of a URL,
            cut at a comma, is not shown.
    """
    entries = listed.split(",") if isinstance(listed, str) else list(listed)
    found: list[settings.Mirror] = []
    notes: list[str] = []
    off = is_after_url = False
    for number, raw in enumerate(entries, start=1):
        entry = raw.strip() if isinstance(raw, str) else raw
        where = f"mirrors ({origin}), entry {number}"
        if isinstance(entry, settings.Mirror):
            found.append(entry)
        elif entry == "off":
            off = True
        elif entry == "default":
            found.extend(settings.Mirror(url=url) for url in dataset.mirrors)
        elif entry in named:
            found.append(named[entry])
        elif entry:
            found.append(_unnamed(entry, named, where, notes, is_after_url=is_after_url))
        is_after_url = isinstance(entry, str) and "://" in entry
    if off and any(not mirror.is_local for mirror in found):
        raise errors.ConfigError(
            f"mirrors ({origin}): 'off' forbids the network, yet network mirrors stand beside it",
            hint="list 'off' alone or with folders only",
        )
    if not found and not off:
        raise errors.ConfigError(
            f"mirrors ({origin}): the list is empty",
            hint="write 'default' for the public mirrors or 'off' for none",
        )
    return tuple(dict.fromkeys(found)), off, tuple(notes)


def _unnamed(
    entry: str,
    named: Mapping[str, settings.Mirror],
    where: str,
    notes: list[str],
    *,
    is_after_url: bool,
) -> settings.Mirror:
    is_url, is_folder = "://" in entry, _exists(entry)
    if not is_url and not is_folder:
        is_absolute = pathlib.Path(entry).is_absolute() or entry.startswith(("~", "."))
        if "@" in entry or "?" in entry or (is_after_url and not is_absolute):
            # Perhaps what followed a comma in a URL's password or signature: not shown.
            raise errors.ConfigError(
                f"{where}: no URL, no folder and no name in the TOML file",
                hint="a comma inside a URL is written %2C",
            )
        if not any(mark in entry for mark in _FOLDER_MARKS):
            valid = [*named, *toml_file.RESERVED_NAMES]
            raise errors.ConfigError(
                f"{where}: {entry!r} is no URL, no folder and no name in the TOML file",
                hint=f"the nearest name is {schema.nearest(entry, valid)!r}",
            )
    url = urls.checked_mirror(entry, where)
    if is_url and urllib.parse.urlsplit(url).netloc != urllib.parse.urlsplit(entry).netloc:
        shown = urls.mask_url(entry)
        notes.append(f"{shown} cannot work (S3 website endpoints have no TLS): using {url}")
    return settings.Mirror(url=url)


def _exists(entry: str) -> bool:
    try:
        return pathlib.Path(entry).expanduser().exists()
    except (OSError, RuntimeError):
        # Too long for a file's name; no home folder to expand "~" to.
        return False
