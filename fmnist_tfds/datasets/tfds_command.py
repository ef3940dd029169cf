"""Keeps TFDS's build command from deleting a prepared data set before there is another.

`tfds build --overwrite` deletes the version folder as soon as it has made the builder, before it
calls `download_and_prepare`; the data sets of this package replace it once the new one is proved.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

_BUILD = "tensorflow_datasets.scripts.cli.build"


def spare(base: type) -> list[Any]:
    """Has TFDS's build command, where it is imported, leave the folders of `base`'s classes alone.

    Args:
        base: of the builders that replace their folders themselves.

    Returns:
        the builders that the command makes from then on, the latest last.
    """
    build = sys.modules.get(_BUILD)
    if build is None:
        return []
    if hasattr(build._make_builder, "made"):
        made: list[Any] = build._make_builder.made
        return made
    make_builder = build._make_builder
    made = []

    @functools.wraps(make_builder)
    def make(builder_cls: type, overwrite: bool, fail_if_exists: bool, **kwargs: Any) -> Any:
        deletes = overwrite and not issubclass(builder_cls, base)
        builder = make_builder(
            builder_cls, overwrite=deletes, fail_if_exists=fail_if_exists, **kwargs
        )
        builder.is_of_command = True  # its hints speak of flags
        made.append(builder)
        return builder

    make.made = made  # type: ignore[attr-defined]
    build._make_builder = make  # type: ignore[attr-defined]
    return made
