"""The error message for files that no source delivered: an aligned table and one hint. Pure."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.download import results
from fmnist_tfds.download.diagnosis import causes

_MANUAL = "put the four files in a folder and pass --manual_dir; see `fmnist-tfds doctor`"
_MANUAL_ANY = (
    "put the files, under any names, in a folder that FMNIST_TFDS_MANUAL_DIR names; see "
    "`fmnist-tfds doctor --dataset=NAME`"
)
_MOST_EVIDENCE = 160
# Only names and digests are replaced by their placeholder: a size may occur anywhere in a URL.
_LEAST_TO_FOLD = 12

# Source, cause, evidence; the number of attempts may differ from file to file.
_Row = tuple[str, str, str]


def obtain_error(
    missing: Sequence[artifacts.Artifact],
    attempts: Mapping[str, Sequence[results.Attempt]],
    *,
    is_offline: bool,
    blocked_message: str = "",
) -> errors.ObtainError:
    """The error for files that no source delivered; files that failed alike share one table.

    Args:
        missing: the files.
        attempts: by file name.
        is_offline: the network is switched off for this job.
        blocked_message: `blocked` of the TOML file's [messages], shown where every source refused.
    """
    # Compared as sets: the files' threads may have asked the sources in different orders.
    groups: dict[frozenset[_Row], list[artifacts.Artifact]] = collections.defaultdict(list)
    most: collections.Counter[_Row] = collections.Counter()
    for file in missing:
        tried = _rows(file, attempts.get(file.name, ()))
        groups[frozenset(tried)].append(file)
        most |= collections.Counter(tried)
    blocks = []
    for alike, files in groups.items():
        rows = [row for row in most if row in alike]
        blocks.append("\n".join([_head(files, rows, is_offline=is_offline), *_aligned(rows, most)]))
    failed = [a for f in missing for a in attempts.get(f.name, ()) if a.outcome == "failed"]
    is_ours = all(isinstance(file, catalog.SourceFile) for file in missing)
    hint = _hint(failed, _MANUAL if is_ours else _MANUAL_ANY, is_offline=is_offline)
    if blocked_message and failed and all(_is_refusal(attempt) for attempt in failed):
        hint = f"{blocked_message}; {hint}"
    return errors.ObtainError("\n".join(blocks), hint=hint)


def _is_refusal(attempt: results.Attempt) -> bool:
    return attempt.cause != "" and causes.CAUSES[attempt.cause].is_refusal


def _head(files: Sequence[artifacts.Artifact], rows: Sequence[_Row], *, is_offline: bool) -> str:
    names = ", ".join(f"{f.name} ({f.expected_bytes:,} bytes)" for f in files)
    sources = len({row[0] for row in rows})
    if is_offline:
        why = "the network is switched off, and it is not on this machine where it was looked for"
    elif sources:
        why = f"{sources} of {sources} sources failed"
        found = {row[1] for row in rows}
        alike = [cause.meaning for name, cause in causes.CAUSES.items() if {name} == found]
        if alike and sources > 1:
            why += f", all alike: {alike[0]}"
    else:
        why = "no source could be tried"
    return f"could not obtain {names}: {why}"


def _rows(file: artifacts.Artifact, attempts: Sequence[results.Attempt]) -> dict[_Row, int]:
    """How often each source was tried."""
    failed = [a for a in attempts if a.outcome == "failed"]
    by_source: dict[str, list[results.Attempt]] = collections.defaultdict(list)
    for attempt in failed:
        # As the mirror list has it: a base URL, or a template.
        source = attempt.url.removesuffix(file.name)
        for name, value in file.placeholders().items():
            if len(value) >= _LEAST_TO_FOLD:
                source = source.replace(value, f"{{{name}}}")
        by_source[source].append(attempt)
    rows: dict[_Row, int] = {}
    for source, tries in by_source.items():
        # The last attempt may have ended by the deadline: the cause before that says more.
        last = next((a for a in reversed(tries) if a.cause != "deadline"), tries[-1])
        evidence = last.evidence or (causes.CAUSES[last.cause].meaning if last.cause else "")
        rows[source, last.cause, evidence[:_MOST_EVIDENCE]] = len(tries)
    return rows


def _aligned(rows: Sequence[_Row], tries: Mapping[_Row, int]) -> list[str]:
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    counts = ["1 attempt" if tries[row] == 1 else f"{tries[row]} attempts" for row in rows]
    return [
        "  " + "  ".join([*(row[i].ljust(widths[i]) for i in range(3)), count])
        for row, count in zip(rows, counts, strict=True)
    ]


def _hint(failed: Sequence[results.Attempt], manual: str, *, is_offline: bool) -> str:
    common = collections.Counter(a.remedy for a in failed if a.remedy).most_common(1)
    first = common[0][0] if common else ""
    if is_offline:
        drop = "drop --offline, FMNIST_TFDS_OFFLINE and mirrors 'off'"
        return f"{first}; or {drop}" if first else f"{drop}, or {manual}"
    if not first or "--manual_dir" in first:
        return f"{first}; see `fmnist-tfds doctor`" if first else manual
    return f"{first}; or {manual}"
