"""The commands on the four files themselves: fetch, verify, config (from where, with what)."""

from __future__ import annotations

import argparse
import json
import pathlib

from fmnist_tfds import errors
from fmnist_tfds.cli import any_dataset, command, flags, output


def _fetch(args: argparse.Namespace) -> int:
    if args.dataset:
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


def _fetch_flags(parser: argparse.ArgumentParser) -> None:
    flags.add_source_flags(parser)
    parser.add_argument("--out", type=pathlib.Path, metavar="D", help="put the files here")
    flags.add_dataset_flag(parser)
    flags.add_json_flag(parser)


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


def _verify_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=pathlib.Path, metavar="PATH", help="files, or folders of them"
    )
    flags.add_json_flag(parser)


def _config(args: argparse.Namespace) -> int:
    output.print_settings(flags.settings_of(args))
    return 0


COMMANDS = (
    command.Command(
        name="fetch",
        run=_fetch,
        add_flags=_fetch_flags,
        help="obtain the four verified files",
        example="--out data",
        synonyms=("download", "get", "pull", "obtain"),
    ),
    command.Command(
        name="verify",
        run=_verify,
        add_flags=_verify_flags,
        help="say what files are; are they genuine",
        example="data",
        synonyms=("check", "validate", "hash", "identify"),
    ),
    command.Command(
        name="config",
        run=_config,
        add_flags=flags.add_source_flags,
        help="print the effective settings and their origin",
        synonyms=("settings", "show", "env"),
    ),
)
