"""Runs the fault matrix on loopback and prints it as a Markdown table.

    python scripts/fault_lab.py                        # every situation
    python scripts/fault_lab.py --only proxy           # those whose chapter or name holds a word
    python scripts/fault_lab.py --kill 500 --stampede 16 --transfer --peers

Exit code 1 when any row is wrong. Opens no connection beyond this machine.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import pathlib
import platform
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "tests" / "lab"),
    str(ROOT / "tests" / "download"),
    str(ROOT / "tests" / "download" / "diagnosis"),
]

import endurance  # noqa: E402
import explain_cases  # noqa: E402
import laboratory  # noqa: E402
import matrix  # noqa: E402
import paced  # noqa: E402
import peers  # noqa: E402
import situations  # noqa: E402
import trial  # noqa: E402

REAL = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")


def main() -> int:
    """Parses the flags, measures, prints; 0 if everything was right."""
    arguments = _arguments()
    print(_heading())
    right = True
    # Children are forked before any thread is started.
    if arguments.kill:
        right &= _print_kills(endurance.kill(arguments.kill))
    if arguments.stampede:
        right &= _print_stampede(endurance.stampede(arguments.stampede, arguments.data))
    if arguments.paced:
        _print_paced(arguments.data)
    if arguments.transfer:
        _print_speed(endurance.speed(arguments.data))
    if not arguments.no_matrix:
        right &= _matrix(arguments)
    if arguments.evidence:
        _print_evidence()
    return 0 if right else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a word of the chapter or the situation")
    parser.add_argument("--kill", type=int, default=0, metavar="N")
    parser.add_argument("--stampede", type=int, default=0, metavar="N")
    parser.add_argument("--transfer", action="store_true", help="speed against curl")
    parser.add_argument("--paced", action="store_true", help="mirrors of set rates; needs --data")
    parser.add_argument("--peers", action="store_true", help="stock TFDS and Keras beside it")
    parser.add_argument("--evidence", action="store_true", help="what each recogniser rests on")
    parser.add_argument("--no_matrix", action="store_true")
    parser.add_argument("--jobs", type=int, default=4, help="situations at the same time")
    parser.add_argument("--data", type=pathlib.Path, help="folder of the four real files")
    arguments = parser.parse_args()
    if arguments.paced and not arguments.data:
        parser.error("--paced needs the real files: --data FOLDER")
    if arguments.data and not all((arguments.data / name).is_file() for name in REAL):
        parser.error(f"{arguments.data} does not hold the four real files")
    return arguments


def _heading() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("requests", "urllib3")
    )
    return (
        f"{datetime.date.today().isoformat()}, Python {platform.python_version()}, {versions}, "
        f"{platform.system()}\n"
    )


def _matrix(arguments: argparse.Namespace) -> bool:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fault-lab-"))
    start = time.monotonic()
    lab = laboratory.Lab(folder)
    try:
        results = matrix.run(lab, folder, matrix.items(arguments.only), jobs=arguments.jobs)
        rows = [row for result in results for row in result.rows]
        skipped = [f"{r.name}: {r.skipped}" for r in results if r.skipped]
        _print_rows(rows, skipped, time.monotonic() - start)
        if arguments.peers:
            _print_peers(lab, folder, rows)
    finally:
        lab.close()
        shutil.rmtree(folder, ignore_errors=True)
    return not any(row.wrong for row in rows)


def _print_rows(rows: list[trial.Row], skipped: list[str], seconds: float) -> None:
    chapter = ""
    for row in rows:
        if row.group != chapter:
            chapter = row.group
            print(f"\n### {chapter[:1].upper()}{chapter[1:]}\n")
            print("| situation | right is | came out | s | right? |\n|---|---|---|---:|---|")
        verdict = "**no**: " + "; ".join(row.wrong) if row.wrong else "yes"
        print(f"| {row.name} | {row.expected} | {row.found} | {row.seconds:.1f} | {verdict} |")
    wrong = sum(bool(row.wrong) for row in rows)
    print(
        f"\n{len(rows)} rows, {len(rows) - wrong} right, {wrong} wrong, {len(skipped)} not tried, "
        f"slowest {max((row.seconds for row in rows), default=0):.1f} s, all in {seconds:.0f} s."
    )
    for line in skipped:
        print(f"- not tried: {line}")


def _print_peers(lab: laboratory.Lab, folder: pathlib.Path, rows: list[trial.Row]) -> None:
    found = {row.name: row.found for row in rows}
    print("\n### Beside the stock tools, one mirror\n")
    print("| situation | fmnist_tfds | stock TFDS | keras.utils.get_file |\n|---|---|---|---|")
    for number, situation in enumerate(s for s in situations.ALL if s.main and s.name in found):
        cells = []
        for tool in ("TFDS", "Keras"):
            place = folder / f"peer{number}{tool}"
            place.mkdir()
            cells.append(peers.run(tool, situation, lab, place).outcome)
        print(f"| {situation.name} | {found[situation.name]} | {' | '.join(cells)} |", flush=True)


def _print_paced(data: pathlib.Path) -> None:
    print("\n### Slow mirrors, the real files\n")
    print("| mirrors, in order | s | the best alone, s | ratio |\n|---|---:|---:|---:|")
    alone: dict[int, float] = {}
    for name, rates in paced.CASES:
        with tempfile.TemporaryDirectory(prefix="paced-") as cache:
            took = paced.seconds(data, rates, pathlib.Path(cache))
        best = max(rate for rate in rates if rate)
        if len(rates) == 1:
            alone[best] = took
        ratio = took / alone[best]
        print(f"| {name} | {took:.1f} | {alone[best]:.1f} | {ratio:.2f} |", flush=True)


def _print_evidence() -> None:
    print("\n### What each recogniser rests on\n")
    print("| page | cause | evidence | source |\n|---|---|---|---|")
    for case in explain_cases.CASES:
        print(f"| {case.name} | {case.cause} | {case.seen} | {case.source} |")


def _print_kills(result: endurance.Kills) -> bool:
    print(
        f"Kill: {result.killed} running fetches ended with SIGKILL ({result.finished} had finished "
        f"before), {len(result.wrong)} wrong findings; {result.completed} times the next run "
        f"completed; {result.resumed} requests resumed a part; {result.seconds:.0f} s."
    )
    for line in result.wrong[:20]:
        print(f"- wrong: {line}")
    return not result.wrong


def _print_stampede(result: endurance.Stampede) -> bool:
    requests = ", ".join(f"{name} {count}" for name, count in result.requests.items())
    print(
        f"Stampede: {result.processes} processes at once on an empty cache, {result.succeeded} "
        f"succeeded in {result.seconds:.1f} s ({'real' if result.real else 'small'} files); "
        f"requests at the mirror: {requests}."
    )
    return result.succeeded == result.processes and not result.wrong


def _print_speed(result: endurance.Speed) -> None:
    print(
        f"Transfer: {result.size_bytes:,} bytes over loopback, medians of 7 in turns: "
        f"curl {result.curl_s:.3f} s, our transfer {result.transfer_s:.3f} s "
        f"({result.curl_s / result.transfer_s:.2f} of curl's speed); with verification: "
        f"curl and sha256sum {result.curl_verified_s:.3f} s, obtain (hashed, synced, published) "
        f"{result.ours_s:.3f} s ({result.curl_verified_s / result.ours_s:.2f} of curl's speed)."
    )


if __name__ == "__main__":
    sys.exit(main())
