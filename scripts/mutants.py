"""For scripts/mutants.sh: the tests that run a line, a sample of faults, what became of them.

As a pytest plugin (`-p mutants`) it tells coverage which test runs, and notes how long each takes.
"""

from __future__ import annotations

import argparse
import ast
import json
import pathlib
import random
import subprocess
import sys
from collections.abc import Iterable

import coverage
import pytest

# `X | None` in an annotation: never evaluated (`from __future__ import annotations`).
_NOT_RUN = "core/ReplaceBinaryOperator_BitOr"
_SECONDS = pathlib.Path("mutants-seconds.jsonl")
_BUDGET_S, _MOST_TESTS = 90, 400


def pytest_runtest_logstart(nodeid: str) -> None:
    """Coverage's context is the test that runs; its subprocesses take it from the environment."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a test's seconds, without its fixtures'."""
    if report.when == "call" and report.passed and coverage.Coverage.current() is not None:
        with _SECONDS.open("a", encoding="utf-8") as notes:
            notes.write(json.dumps([report.nodeid, report.duration]) + "\n")


def _changed_lines(before: str, after: str) -> set[int]:
    """The lines of `before`, from 1, in which a fault stands."""
    old, new = before.splitlines(), after.splitlines()
    pairs = zip(old, new, strict=False)
    return {number for number, (was, now) in enumerate(pairs, 1) if was != now} or {len(new)}


def _bodies(source: str) -> dict[int, range]:
    """For each line in a function's body, the lines of the innermost such body."""
    bodies: dict[int, range] = {}
    for node in ast.walk(ast.parse(source)):  # outer before inner
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
            bodies |= dict.fromkeys(body, body)
    return bodies


def _covering(pristine: pathlib.Path) -> list[str]:
    """The tests that ran the faulty lines, the quickest first.

    A line outside functions runs at an import, where no test is named: all of the file count.
    """
    data = coverage.CoverageData()
    data.read()
    seconds = dict(map(json.loads, _SECONDS.read_text(encoding="utf-8").splitlines()))
    tests: set[str] = set()
    for path in pathlib.Path("fmnist_tfds").rglob("*.py"):
        before = (pristine / path).read_text(encoding="utf-8")
        after = path.read_text(encoding="utf-8")
        if before == after:
            continue
        contexts = data.contexts_by_lineno(str(path))
        bodies = _bodies(before)
        for line in _changed_lines(before, after):
            found = _named(contexts.get(line, ())) if line in bodies else set()
            found = found or _named(c for n in bodies.get(line, ()) for c in contexts.get(n, ()))
            tests |= found or _named(c for some in contexts.values() for c in some)
    chosen, spent = [], 0.0
    for test in sorted(tests & seconds.keys(), key=lambda test: seconds[test]):
        spent += seconds[test]
        if len(chosen) == _MOST_TESTS or (chosen and spent > _BUDGET_S):
            break
        chosen.append(test)
    return chosen


def _named(contexts: Iterable[str]) -> set[str]:
    """The node ids of contexts: a subprocess's ends with pytest's phase."""
    names = (context.partition("|")[0] for context in contexts)
    return {name.rpartition(" (")[0] if name.endswith(")") else name for name in names} - {""}


def _test(pristine: pathlib.Path) -> int:
    tests = _covering(pristine)
    print(f"{len(tests)} tests run the line", *tests[:20], sep="\n  ")
    if not tests:
        return 0  # no test runs it: the fault survives
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, check=False).returncode


def _sample(session: str, count: int, seed: int) -> None:
    """Marks all faults but `count` as skipped; each place in the code at most once."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import WorkItem, WorkResult

    with use_db(session) as database:
        items: list[WorkItem] = sorted(
            database.pending_work_items,
            key=lambda item: str(
                [
                    (m.module_path, m.start_pos, m.operator_name, m.occurrence)
                    for m in item.mutations
                ]
            ),
        )
        random.Random(seed).shuffle(items)
        seen: set[tuple[str, tuple[int, int]]] = set()
        for item in items:
            mutation = item.mutations[0]
            place = (str(mutation.module_path), mutation.start_pos)
            run = not mutation.operator_name.startswith(_NOT_RUN)
            if len(seen) < count and place not in seen and run:
                seen.add(place)
            else:
                database.set_result(item.job_id, WorkResult(worker_outcome="skipped"))
    print(f"{len(seen)} faults of {len(items)}, seed {seed}")


def _report(session: str) -> None:
    from cosmic_ray.work_db import use_db

    with use_db(session) as database:
        outcomes = {job: result for job, result in database.results if result.test_outcome}
        survived = {job for job, result in outcomes.items() if result.test_outcome == "survived"}
        for item in database.work_items:
            if item.job_id in survived:
                mutation, result = item.mutations[0], outcomes[item.job_id]
                ran = (result.output or "").partition("\n")[0]
                print(f"\nsurvived: {mutation.operator_name}; {ran}\n{result.diff}")
    print(f"\nkilled {len(outcomes) - len(survived)} of {len(outcomes)}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("sample", "test", "report"))
    parser.add_argument("session", help="cosmic-ray's; for `test`, the tree without faults")
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.work == "sample":
        _sample(arguments.session, arguments.count, arguments.seed)
    elif arguments.work == "report":
        _report(arguments.session)
    else:
        sys.exit(_test(pathlib.Path(arguments.session)))


if __name__ == "__main__":
    main()
