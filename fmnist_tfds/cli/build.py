"""The command build: our flags, then TFDS's, handed to TFDS's own build command."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from fmnist_tfds import errors
from fmnist_tfds.cli import command, output
from fmnist_tfds.cli import flags as cli_flags
from fmnist_tfds.config import loader, schema


def _build(args: argparse.Namespace) -> int:
    from tensorflow_datasets.core.utils import tqdm_utils
    from tensorflow_datasets.scripts.cli import build as tfds_build
    from tensorflow_datasets.scripts.cli import cli_utils

    from fmnist_tfds.datasets import (  # the package registers the data sets
        replacing_builder,
        tfds_command,
    )

    made = tfds_command.spare(replacing_builder.ReplacingBuilder)
    found = cli_flags.settings_of(args)
    loader.export(
        mirrors=args.mirrors,
        config=args.config_file,
        cache_dir=args.cache_dir,
        deadline_s=args.deadline_s,
        offline=args.offline,
        adopt_local=args.adopt_local or None,
    )
    if any(word.partition("=")[0] == "--download_only" for word in args.rest):
        raise errors.ConfigError(
            "--download_only goes past every builder",
            hint="`fmnist-tfds fetch --out D` downloads the four files",
        )
    rest = list(args.rest)
    if args.manual_dir:
        rest.append(f"--manual_dir={found.manual_dir}")
    words = ["fmnist_resilient", "--imports=fmnist_tfds", *rest]
    parse = cli_utils.make_flags_parser(tfds_build.Args, "builds fmnist_resilient")
    flags = [*args.parser._option_string_actions]
    parsed = _strictly(parse, words, args.parser.prog, flags)
    if not sys.stderr.isatty():
        tqdm_utils.disable_progress_bar()  # hundreds of lines in a log
    started = time.monotonic()
    said = io.StringIO()  # TFDS prints forty lines of description
    try:
        with contextlib.redirect_stdout(sys.stdout if args.verbosity > 0 else said):
            parsed.execute()
    except errors.FmnistError:
        raise
    # TFDS's words for flags that cannot be: --config, --fail_if_exists, --num_shards.
    except (ValueError, RuntimeError, AssertionError) as error:
        hint = "correct the flag that it speaks of; --verbosity=1 adds the traceback"
        raise errors.FmnistError(f"{args.parser.prog}: {error}", hint=hint) from error
    if made and args.verbosity >= 0:
        output.print_built(made[-1], time.monotonic() - started)
    return 0


def _strictly(
    parse: Callable[[list[str]], Any], words: list[str], prog: str, flags: list[str]
) -> Any:
    """What TFDS's parser makes of `words`; its complaint as ours, since its usage is not ours."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(["build", *words])
    except SystemExit as stop:
        usage, _, complaint = said.getvalue().strip().rpartition("error: ")
        hint = f"`{prog} --help` shows what it takes"
        if found := re.match(r"unrecognized arguments: ([^\s=]+)", complaint):
            complaint = f"unknown argument {found[1]}"
            if found[1].startswith("-"):
                valid = [*flags, *re.findall(r"--\w+", usage)]
                hint = f"the nearest valid one is {schema.nearest(found[1], valid)}"
        raise errors.ConfigError(f"{prog}: {complaint}", hint=hint) from stop


def _build_flags(parser: argparse.ArgumentParser) -> None:
    cli_flags.add_source_flags(parser)
    parser.add_argument_group(
        "flags of `tfds build`",
        "--data_dir, --download_dir, --num_shards, --max_shard_size_mb,\n"
        "--max_examples_per_split, --file_format, --overwrite, --register_checksums\n"
        "and the rest, but --download_only",
    )
    parser.set_defaults(takes_rest=True)


COMMANDS = (
    command.Command(
        name="build",
        run=_build,
        add_flags=_build_flags,
        help="prepare TFRecords; takes the flags of `tfds build`",
        example="--data_dir=tfds --manual_dir=data",
        synonyms=("prepare", "generate", "make"),
    ),
)
