"""Runs situations side by side and collects their rows."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import traceback

import laboratory
import parts
import situations
import specials
import trial


@dataclasses.dataclass(frozen=True)
class Result:
    """The rows of one situation, why it was not tried ("needs …"), and if it took two tries."""

    name: str
    rows: tuple[trial.Row, ...] = ()
    skipped: str = ""
    repeated: bool = False


def items(
    only: str = "", *, complete: bool = True
) -> list[situations.Situation | specials.Special]:
    """All situations whose chapter or name holds a word, in the order of the table.

    Args:
        only: the word.
        complete: also those that differ from others in a number only (`situations.ALIKE`).
    """
    found = [
        item
        for item in [*situations.ALL, *specials.ALL]
        if only in f"{item.group} {item.name}" and (complete or item.name not in situations.ALIKE)
    ]
    order = list(dict.fromkeys(item.group for item in found))
    return sorted(found, key=lambda item: order.index(item.group))


def run(
    lab: laboratory.Lab,
    folder: pathlib.Path,
    todo: list[situations.Situation | specials.Special],
    *,
    jobs: int,
) -> list[Result]:
    """Each of `todo` once, `jobs` of them at the same time; what went wrong once more, alone.

    Real servers on a loaded machine miss a limit now and then; what is wrong with ours is wrong
    alone as well. `repeated` says which.
    """
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        # From the end, where those stand that take longest.
        results = list(pool.map(lambda item: _one(item, lab, folder), reversed(todo)))[::-1]
    again = folder / "again"
    again.mkdir(mode=0o755)
    for number, (item, result) in enumerate(zip(todo, results, strict=True)):
        if any(row.wrong for row in result.rows):
            results[number] = dataclasses.replace(_one(item, lab, again), repeated=True)
    return results


def _one(
    item: situations.Situation | specials.Special, lab: laboratory.Lab, folder: pathlib.Path
) -> Result:
    for part in item.needs:
        if reason := parts.missing(part):
            return Result(item.name, skipped=reason)
    place = folder / f"{item.group} {item.name}".replace("/", " ")
    place.mkdir(mode=0o755)
    try:
        if isinstance(item, situations.Situation):
            return Result(item.name, tuple(trial.run(item, lab, place)))
        return Result(item.name, (item.run(lab, place),))
    except Exception:  # noqa: BLE001 (wrong, but no reason to lose all other rows)
        wrong = (traceback.format_exc(),)
        return Result(item.name, (trial.Row(item.group, item.name, "", "an error", 0.0, wrong),))
