"""A sample of cosmic-ray's faults for scripts/mutants.sh, and what became of them."""

from __future__ import annotations

import argparse
import pathlib
import random

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkItem, WorkResult

# `X | None` in an annotation: never evaluated (`from __future__ import annotations`).
_NOT_RUN = "core/ReplaceBinaryOperator_BitOr"


def _sample(database: WorkDB, count: int, seed: int) -> None:
    """Marks all faults but `count` as skipped; each place in the code at most once."""
    items: list[WorkItem] = sorted(
        database.pending_work_items,
        key=lambda item: str(
            [(m.module_path, m.start_pos, m.operator_name, m.occurrence) for m in item.mutations]
        ),
    )
    random.Random(seed).shuffle(items)
    seen: set[tuple[str, tuple[int, int]]] = set()
    for item in items:
        mutation = item.mutations[0]
        place = (str(mutation.module_path), mutation.start_pos)
        if (
            len(seen) < count
            and place not in seen
            and not mutation.operator_name.startswith(_NOT_RUN)
        ):
            seen.add(place)
        else:
            database.set_result(item.job_id, WorkResult(worker_outcome="skipped"))
    print(f"{len(seen)} faults of {len(items)}, seed {seed}")


def _report(database: WorkDB) -> None:
    outcomes = {job: result for job, result in database.results if result.test_outcome}
    survived = {job for job, result in outcomes.items() if result.test_outcome == "survived"}
    for item in database.work_items:
        if item.job_id in survived:
            mutation = item.mutations[0]
            print(f"\nsurvived: {mutation.operator_name}\n{outcomes[item.job_id].diff}")
    print(f"\nkilled {len(outcomes) - len(survived)} of {len(outcomes)}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    with use_db(str(arguments.session)) as database:
        if arguments.report:
            _report(database)
        else:
            _sample(database, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
