"""The commands of fmnist-tfds: one short function each, with its flags.

Nothing heavy is imported before it is needed: no command imports TensorFlow unless it trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable

from fmnist_tfds import errors
from fmnist_tfds.cli import build, completion, exchange, flags, output


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command: what runs, its flags, one line of help, and the arguments of an example."""

    run: Callable[[argparse.Namespace], int]
    add_flags: Callable[[argparse.ArgumentParser], None]
    help: str
    example: str


def _fetch(args: argparse.Namespace) -> int:
    if args.dataset:
        from fmnist_tfds.cli import any_dataset

        outcome = any_dataset.fetch(args)
    else:
        from fmnist_tfds import obtain

        found = flags.settings_of(args)
        with output.progress(quiet=args.json or args.verbosity < 0) as report:
            outcome = obtain.obtain(found, out=args.out, progress=report)
    if args.json:
        print(json.dumps(outcome.as_json(), indent=2))
    elif outcome.error is None:
        output.print_files(outcome)
    if outcome.error is None:
        return 0
    if not args.json:
        raise outcome.error
    return output.exit_code(outcome.error)


def _verify(args: argparse.Namespace) -> int:
    from fmnist_tfds.formats import identify

    paths = [path for given in args.paths for path in _files_below(given)]
    rows = []
    for path in paths:
        try:
            identity = identify.identify(path)
        except OSError as error:
            raise errors.ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        rows.append({"path": str(path), "verdict": identity.verdict, "detail": identity.detail})
    if args.json:
        print(json.dumps({"files": rows}, indent=2))
    else:
        output.print_verdicts(rows)
    genuine = {"genuine", "genuine-payload"}
    return 0 if rows and all(row["verdict"] in genuine for row in rows) else 4


def _files_below(path: pathlib.Path) -> list[pathlib.Path]:
    if not path.exists():
        raise errors.ConfigError(f"there is no file or folder {path}")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise errors.ConfigError(f"{path}: neither a file nor a folder")
    held = sorted(p for p in path.iterdir() if "-idx" in p.name and p.is_file())
    if not held:
        raise errors.ConfigError(
            f"{path}: no IDX file lies in this folder", hint="name the files themselves"
        )
    return held


def _config(args: argparse.Namespace) -> int:
    output.print_settings(flags.settings_of(args))
    return 0


def _quickstart(args: argparse.Namespace) -> int:
    from fmnist_tfds.training import quickstart

    # A newcomer waits two minutes for a network, not ten.
    found = flags.settings_of(args, default_deadline_s=120.0)
    with output.progress(quiet=args.verbosity < 0) as report:
        done = quickstart.run(
            found,
            args.out,
            data_dir=args.data_dir,
            epochs=args.epochs,
            report=report,
            on_synthetic=lambda failure: output.print_banner(quickstart.BANNER_LINES, str(failure)),
        )
    output.print_quickstart(done, quickstart.BANNER_LINES)
    return 0


def _fetch_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_source_flags(parser)
    parser.add_argument("--out", type=pathlib.Path, metavar="D", help="put the files here")
    _dataset_flag(parser)
    flags.add_json_flag(parser)


def _dataset_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", metavar="NAME", help="what that TFDS data set downloads, not Fashion-MNIST"
    )


def _mirror(args: argparse.Namespace) -> int:
    from fmnist_tfds.cli import any_dataset

    return any_dataset.mirror(args)


def _mirror_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("create",), metavar="create", help="make the folder")
    parser.add_argument("names", nargs="+", metavar="NAME", help="TFDS data sets, such as kmnist")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="D", help="the folder; it is added to"
    )
    flags.add_source_flags(parser)


def _verify_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=pathlib.Path, metavar="PATH", help="files, or folders of them"
    )
    flags.add_json_flag(parser)


def _quickstart_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_source_flags(parser)
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default="quickstart-output",
        metavar="D",
        help="pictures and figures; default: quickstart-output",
    )
    parser.add_argument(
        "--data_dir", default="", metavar="D", help="TFDS data_dir; default OUT/tfds"
    )
    parser.add_argument(
        "--epochs",
        type=flags.count,
        default=4,
        metavar="N",
        help="passes over the training images; 4",
    )


def _doctor(args: argparse.Namespace) -> int:
    from fmnist_tfds.cli import doctor

    if args.dataset:
        from fmnist_tfds.cli import any_dataset

        made, wanted = any_dataset.plan_of(args), any_dataset.pinned(args.dataset)
        return doctor.run(args, *made.examined(wanted))
    return doctor.run(args, flags.settings_of(args))


def _doctor_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_source_flags(parser)
    flags.add_json_flag(parser)
    parser.add_argument(
        "--html", type=pathlib.Path, metavar="F", help="also write the report as one page to F"
    )
    parser.add_argument(
        "--allowlist",
        action="store_true",
        help="print the request to send to the firewall administrator",
    )
    _dataset_flag(parser)


def _benchmark(args: argparse.Namespace) -> int:
    from fmnist_tfds.benchmark import measure
    from fmnist_tfds.datasets import obtained_builder
    from fmnist_tfds.training import plots

    plots.require_matplotlib()  # before the minutes of measuring
    files = flags.obtained(args)
    args.out.mkdir(parents=True, exist_ok=True)
    with obtained_builder.one_folder(files) as folder:
        result = measure.measure(str(args.out / "tfds"), str(folder), args.repeats)
    (args.out / "benchmark.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    measure.chart(result, args.out / "benchmark.png")
    print(measure.table(result))
    return 0


def _benchmark_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_source_flags(parser)
    parser.add_argument(
        "--out", type=pathlib.Path, default="benchmark-output", metavar="D", help="JSON and chart"
    )
    parser.add_argument(
        "--repeats", type=flags.count, default=3, metavar="N", help="processes per case; 3"
    )


def _completion(args: argparse.Namespace) -> int:
    print(completion.script(args.shell, args.parsers), end="")
    return 0


def _completion_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell", choices=completion.SHELLS, metavar="bash|zsh", help="source its output"
    )


COMMANDS: dict[str, Command] = {
    "fetch": Command(_fetch, _fetch_flags, "obtain the four verified files", "--out data"),
    "verify": Command(_verify, _verify_flags, "say what files are; are they genuine", "data"),
    "build": Command(
        build.build,
        build.add_build_flags,
        "prepare TFRecords; takes the flags of `tfds build`",
        "--data_dir=tfds --manual_dir=data",
    ),
    "adopt": Command(
        exchange.adopt,
        exchange.add_adopt_flags,
        "turn any copy into the four files",
        "copy.npz --out data",
    ),
    "plant": Command(
        exchange.plant,
        exchange.add_plant_flags,
        "put the files where a tool looks",
        "keras",
    ),
    "bundle": Command(
        exchange.bundle,
        exchange.add_bundle_flags,
        "one file to carry to another site",
        "export f.zip",
    ),
    "serve": Command(
        exchange.serve,
        exchange.add_serve_flags,
        "be a mirror for the local network",
        "--port=8000",
    ),
    "mirror": Command(
        _mirror,
        _mirror_flags,
        "a folder that is a mirror of TFDS data sets",
        "create kmnist --out=mirror",
    ),
    "doctor": Command(
        _doctor, _doctor_flags, "what is in the way, whose it is, what to do", "--html report.html"
    ),
    "config": Command(
        _config, flags.add_source_flags, "print the effective settings and their origin", ""
    ),
    "quickstart": Command(
        _quickstart, _quickstart_flags, "obtain, prepare, train, draw", "--out demo"
    ),
    "benchmark": Command(
        _benchmark, _benchmark_flags, "measure this machine beside the usual loaders", ""
    ),
    "completion": Command(
        _completion, _completion_flags, "print a script that completes commands and flags", "bash"
    ),
}
