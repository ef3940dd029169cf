"""Writes docs/tfds-data-sets.md: which data sets of the installed TFDS are served, which not."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import urllib.parse

import tensorflow_datasets as tfds

from fmnist_tfds import catalog
from fmnist_tfds.any_dataset import plan

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "tfds-data-sets.md"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One data set: what TFDS pins of it, and what is left to TFDS ("" for nothing)."""

    name: str
    files: int
    size_bytes: int
    left: str
    has_one_host: bool
    has_no_tls: bool


def rows() -> list[Row]:
    """Every data set of the installed TFDS, in the order of their names."""
    # Once, at first: TFDS lists more names after the modules of some data sets were imported.
    names = tuple(tfds.list_builders(with_community_datasets=False))
    return [_row(name) for name in names if name not in catalog.DATASETS]


def _row(name: str) -> Row:
    builder = tfds.builder_cls(name)
    infos = builder.url_infos or {}
    left = collections.Counter(_why_not(url) for url in infos if not plan.is_ours(url))
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items()))
    if not infos:
        manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        why = "downloaded by hand" if manual else "TFDS pins no download"
    return Row(
        name=name,
        files=len(infos),
        size_bytes=sum(int(info.size) for info in infos.values()),
        left=why,
        has_one_host=len({urllib.parse.urlsplit(url).hostname for url in infos}) == 1,
        has_no_tls=any(url.startswith("http:") for url in infos),
    )


def _why_not(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.hostname == "drive.google.com":
        return "on Google Drive"
    return f"{parts.scheme}://" if parts.scheme else "without an address"


def page() -> str:
    """The whole page, Markdown."""
    found = rows()
    pinned = [row for row in found if row.files]
    whole = [row for row in pinned if not row.left]
    part = [row for row in pinned if row.left]
    rest = [row for row in found if not row.files]
    return "\n".join(
        [
            "# TFDS data sets that this serves",
            "",
            f"Of the {len(found)} data sets in tensorflow-datasets {tfds.__version__}, "
            f"{len(pinned)} pin their downloads ({sum(row.files for row in pinned):,} URLs, each "
            f"with size and sha256). {len(whole)} of them download wholly through mirrors, cache "
            f"and causes, {len(part)} in part; {len(rest)} pin nothing and are left to TFDS. "
            f"{sum(row.has_one_host for row in pinned)} of them hang on exactly one host, "
            f"{sum(row.has_no_tls for row in pinned)} on an address without TLS.",
            "",
            "What is on Google Drive (its confirmation page) or at another scheme is asked of the "
            "mirrors first, then left to TFDS itself. Written by "
            "`python scripts/write_tfds_data_sets.py`; counted from TFDS's own checksums, nothing "
            "was downloaded.",
            "",
            "## Wholly",
            "",
            "| data set | files | MB |",
            "|---|---:|---:|",
            *(f"| {row.name} | {row.files:,} | {row.size_bytes / 1e6:,.1f} |" for row in whole),
            "",
            "## In part",
            "",
            "| data set | files | MB | left to TFDS |",
            "|---|---:|---:|---|",
            *(
                f"| {row.name} | {row.files:,} | {row.size_bytes / 1e6:,.1f} | {row.left} |"
                for row in part
            ),
            "",
            "## Left to TFDS",
            "",
            *(
                f"**{why[0].upper()}{why[1:]}**: {_names(rest, why)}.\n"
                for why in sorted({row.left for row in rest})
            ),
        ]
    )


def _names(found: list[Row], why: str) -> str:
    return ", ".join(row.name for row in found if row.left == why)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
