"""Expands "~". A container's user may have no home folder: then the error names what to set."""

from __future__ import annotations

import os
import pathlib

from fmnist_tfds import errors


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
    """`path` with "~" replaced, relative ones from the working folder on.

    Raises:
        ConfigError: it begins with "~", and there is no home folder.
    """
    return _from_home(pathlib.Path(path), str(path)).absolute()


def folder(what: str, flag: str) -> pathlib.Path:
    """The home folder.

    Args:
        what: what needs it, for the message.
        flag: the setting that names another place.

    Raises:
        ConfigError: there is none.
    """
    return _from_home(pathlib.Path("~"), what, flag)


def _from_home(path: pathlib.Path, what: str, flag: str = "") -> pathlib.Path:
    try:
        found = path.expanduser()
        # With an empty HOME "~" means "/": nobody's home.
        is_none = path.parts[:1] == ("~",) and pathlib.Path.home() == pathlib.Path("/")
    except RuntimeError:
        is_none = True
    if is_none:
        raise errors.ConfigError(
            f"{what}: this user has no home folder (HOME is not set, empty, or /)",
            hint=f"name another place: {flag}" if flag else "write the path in full, or set HOME",
        )
    return found
