"""Writes docs/configuration.md from the settings, and docs/commands.md from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import pathlib
import re
from collections.abc import Iterator

from fmnist_tfds.cli import main
from fmnist_tfds.config import settings

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
_CONFIGURATION = """# Configuration

Written by `scripts/write_reference.py` from the settings themselves.

A value is taken from the first of these that gives one: an argument or flag, a variable, the TOML
file (`--config_file`, `FMNIST_TFDS_CONFIG`), the default. `fmnist-tfds config` prints what is in
force and where each value came from, secrets masked.

| variable | flag, argument | what it is |
|---|---|---|
{variables}

The conventions hold as well: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`, and `~/.netrc` for the hosts that it names.

## Where files live

```text
  mirrors ──► cache_dir ──► data_dir/fmnist_resilient/1.0.0 ──► batches
                 ▲  │            the prepared TFRecords
  manual_dir ────┘  └────► out   the four .gz for you (fetch --out, adopt --out)

  cache_dir    the verified files, their receipt.json and parts of files that were cut short;
               default: the user's cache folder (fmnist-tfds config shows it)
  manual_dir   yours: a folder, archive or file that holds the data; only read, tried first
  data_dir     TFDS's; default: ~/tensorflow_datasets
```

## The TOML file

Every key may be left out; one that is unknown is refused with the nearest valid one.

```toml
order = "corp, share, default"  # the mirror list; without it the file's mirrors in their order
[cache]
dir = "/scratch/fmnist"
[manual]
dir = "/mnt/datasets/fashion-mnist"
[messages]
blocked = "ask netops@corp.example, form 17"  # shown where every source refused
[[rewrites]]  # the longest beginning wins; several `to` are tried in order
from = "https://github.com/"
to = ["https://artifactory.example/github/"]
```
{tables}"""
_VARIABLES = {
    "MIRRORS": ("mirrors", "ordered [list](mirrors.md) of sources"),
    "CONFIG": ("config_file", "the TOML file"),
    "MANUAL_DIR": ("manual_dir", "folder, archive or file that holds the data, tried first"),
    "CACHE_DIR": ("cache_dir", "where verified files are kept"),
    "OFFLINE": ("offline", "`1`: open no socket"),
    "ADOPT_LOCAL": ("adopt_local", "`1`: use what Keras, Kaggle and others keep on this disk"),
    "DEADLINE_S": ("deadline_s", "seconds for the whole job"),
}
_TABLES = (
    ("[network]", settings.Network),
    ("[[mirrors]]", settings.Mirror),
    ("auth of a mirror", settings.Auth),
)
_COMMANDS = """# Commands

Written by `scripts/write_reference.py` from the command line itself. Hyphens and underscores in
flags mean the same. Exit codes: 0 done; 2 usage or configuration; 3 the data could not be
obtained; 4 the bytes are not Fashion-MNIST; 1 anything else.

| command | what it does |
|---|---|
{table}
{sections}"""


def configuration() -> str:
    """The page on settings, Markdown."""
    variables = "\n".join(
        f"| `FMNIST_TFDS_{name}` | `--{flag}`, `{flag}` | {text} |"
        for name, (flag, text) in _VARIABLES.items()
    )
    tables = "\n".join(_table(title, kind) for title, kind in _TABLES)
    return _CONFIGURATION.format(variables=variables, tables=tables)


def _table(title: str, kind: type) -> str:
    told = dict(_attributes(inspect.getdoc(kind) or ""))
    rows = [
        f"| `{field.name}` | {_default(field)} | {told[field.name]} |"
        for field in dataclasses.fields(kind)
    ]
    return "\n".join(
        [f"\n### {title}\n", "| key | default | what it is |", "|---|---|---|", *rows, ""]
    )


def _default(field: dataclasses.Field[object]) -> str:
    value = field.default
    if value is dataclasses.MISSING:
        return "needed"
    if value is None or value in ("", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    _, _, block = docstring.partition("Attributes:\n")
    for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", block, re.MULTILINE):
        yield name, " ".join(text.split()).replace("|", "\\|")


def commands() -> str:
    """The page on commands, Markdown."""
    parsers = main.parsers()
    table = "\n".join(f"| [`{n}`](#{n}) | {p.description} |" for n, p in parsers.items())
    sections = "\n".join(_command(name, parser) for name, parser in parsers.items())
    return _COMMANDS.format(table=table, sections=sections)


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    words = " ".join(
        action.metavar or f"{{{'|'.join(map(str, action.choices or ()))}}}"
        for action in parser._actions
        if not action.option_strings
    )
    example = (parser.epilog or "").partition("\n")[2].strip()
    lines = [f"\n## {name}\n", f"{parser.description}\n", "```text", example, "```", ""]
    if words:
        lines.append(f"Takes: `{words}`\n")
    lines += ["| flag | what it does |", "|---|---|"]
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            value = action.metavar or "|".join(map(str, action.choices or ()))
            takes = f"={value}" if action.nargs != 0 and value else ""
            text = " ".join((action.help or "").split()) % vars(action)
            text = text.replace(str(pathlib.Path.home()), "~").replace("|", "\\|")
            flag = f"{action.option_strings[-1]}{takes}".replace("|", "\\|")
            lines.append(f"| `{flag}` | {text} |")
    groups = [g.description for g in parser._action_groups if g.description]
    lines += [f"\n{' '.join(text.split())}" for text in groups]
    return "\n".join(lines)


if __name__ == "__main__":
    (DOCS / "configuration.md").write_text(configuration(), encoding="utf-8")
    (DOCS / "commands.md").write_text(commands(), encoding="utf-8")
