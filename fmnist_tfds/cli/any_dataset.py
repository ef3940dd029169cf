"""The command mirror, and what others do for any TFDS data set: --dataset, serve --root."""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING

from fmnist_tfds import artifacts
from fmnist_tfds.cli import command, flags, output

if TYPE_CHECKING:
    from fmnist_tfds.any_dataset import plan
    from fmnist_tfds.download import results
    from fmnist_tfds.exchange import serve as serving


def plan_of(args: argparse.Namespace) -> plan.Plan:
    """The plan that the flags of `flags.add_source_flags` make."""
    from fmnist_tfds.any_dataset import plan

    return plan.Plan(flags.settings_of(args, dataset=plan.ANY))


def fetch(args: argparse.Namespace) -> results.Result:
    """What the data set downloads, in the cache or in --out."""
    from fmnist_tfds.any_dataset import mirror_folder

    made, wanted = plan_of(args), pinned(args.dataset)
    with output.progress(quiet=args.json or args.verbosity < 0) as report:
        result = mirror_folder.obtain_all(made, wanted, report)
    return mirror_folder.copied(result, args.out) if args.out else result


def pinned(name: str) -> artifacts.ArtifactSet:
    """The artifacts of a TFDS data set."""
    from fmnist_tfds.any_dataset import tfds_pins  # TFDS: 1 s that --help need not wait

    return tfds_pins.artifact_set(name)


def _mirror(args: argparse.Namespace) -> int:
    from fmnist_tfds.any_dataset import mirror_folder

    made, sets = plan_of(args), [pinned(name) for name in args.names]
    with output.progress(quiet=args.verbosity < 0) as report:
        created = mirror_folder.create(made, sets, args.out, report)
    for error in created.failed:
        output.print_error(error, as_json=False)
    whole = sum(len(each.files) for each in sets)
    print(f"{args.out}  {created.files} of {whole} files, {created.size_bytes:,} bytes")
    if not created.failed:
        print(
            f"serve it: fmnist-tfds serve --root={args.out}\n"
            f"or use it as it lies: FMNIST_TFDS_MIRRORS={args.out.absolute().as_uri()}"
        )
    return 3 if created.failed else 0


def folder_server(args: argparse.Namespace) -> serving.Server:
    """A server of the mirror folder --root."""
    from fmnist_tfds.any_dataset import mirror_folder
    from fmnist_tfds.exchange import serve as serving

    return serving.serve_folder(args.root, mirror_folder.read(args.root), args.host, args.port)


def _mirror_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("create",), metavar="create", help="make the folder")
    parser.add_argument("names", nargs="+", metavar="NAME", help="TFDS data sets, such as kmnist")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="D", help="the folder; it is added to"
    )
    flags.add_source_flags(parser)


COMMANDS = (
    command.Command(
        name="mirror",
        run=_mirror,
        add_flags=_mirror_flags,
        help="a folder that is a mirror of TFDS data sets",
        example="create kmnist --out=mirror",
    ),
)
