"""The commands that train and measure: quickstart, benchmark. Only these import TensorFlow."""

from __future__ import annotations

import argparse
import json
import pathlib

from fmnist_tfds.cli import command, flags, output


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
        default=5,
        metavar="N",
        help="passes over the training images; 5",
    )


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


COMMANDS = (
    command.Command(
        name="quickstart",
        run=_quickstart,
        add_flags=_quickstart_flags,
        help="obtain, prepare, train, draw",
        example="--out demo",
        synonyms=("train", "demo", "start", "run"),
    ),
    command.Command(
        name="benchmark",
        run=_benchmark,
        add_flags=_benchmark_flags,
        help="measure this machine beside the usual loaders",
        synonyms=("bench", "measure"),
    ),
)
