"""Flags that commands of fmnist-tfds share, and what they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

from fmnist_tfds import artifacts, catalog
from fmnist_tfds.cli import output
from fmnist_tfds.config import loader, settings


def settings_of(
    args: argparse.Namespace,
    *,
    default_deadline_s: float | None = None,
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
) -> settings.Settings:
    """The settings that the flags of `add_source_flags` make; remarks on them go to stderr.

    Args:
        args: the parsed command line.
        default_deadline_s: the deadline where nothing sets one.
        dataset: whose public mirrors "default" means.
    """
    found = loader.load(
        mirrors=args.mirrors,
        config_file=args.config_file,
        manual_dir=args.manual_dir,
        cache_dir=args.cache_dir,
        deadline_s=args.deadline_s,
        offline=args.offline,
        adopt_local=args.adopt_local,
        dataset=dataset,
    )
    if default_deadline_s and found.origins["network.deadline_s"] == "default":
        network = dataclasses.replace(found.network, deadline_s=default_deadline_s)
        found = dataclasses.replace(found, network=network)
    for note in found.notes:
        output.print_line(f"note: {note}")
    return found


def obtained(args: argparse.Namespace) -> dict[str, pathlib.Path]:
    """The four files, for a command that needs them first."""
    from fmnist_tfds import obtain

    found = settings_of(args)
    with output.progress(quiet=args.verbosity < 0) as report:
        return obtain.obtain_files(settings=found, progress=report)


def cache_folder(args: argparse.Namespace) -> pathlib.Path:
    """The store's folder."""
    return loader.load(cache_dir=args.cache_dir).cache_dir / catalog.FASHION_MNIST.name


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Where the data comes from: what `fetch` takes and every command that obtains first."""
    group = parser.add_argument_group("where the data comes from")
    group.add_argument("--mirrors", metavar="LIST", help="URLs, folders, names; default; off")
    group.add_argument("--manual_dir", metavar="D", help="folder that holds the data")
    group.add_argument("--cache_dir", metavar="D", help="where verified files are kept")
    group.add_argument("--config_file", metavar="F", help="TOML file of mirrors and settings")
    group.add_argument("--deadline_s", type=float, metavar="S", help="seconds for the whole job")
    group.add_argument("--offline", action="store_true", default=None, help="open no socket")
    group.add_argument("--adopt_local", action="store_true", help="use other tools' caches")


def count(text: str) -> int:
    """A whole number of at least 1, as argparse's `type`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def add_dataset_flag(parser: argparse.ArgumentParser) -> None:
    """--dataset."""
    parser.add_argument(
        "--dataset", metavar="NAME", help="what that TFDS data set downloads, not Fashion-MNIST"
    )
