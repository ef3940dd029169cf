"""The command doctor: its report as a table, as JSON, as a page, or as a firewall request."""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import tempfile
import textwrap
from collections.abc import Sequence

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text

from fmnist_tfds import artifacts, errors
from fmnist_tfds.cli import any_dataset, command, flags
from fmnist_tfds.config import loader, settings
from fmnist_tfds.doctor import findings, summary

_STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim", "not reached": "dim"}
_MARKS = {"failed": "FAIL", "skipped": "-", "not reached": "."}
_NARROWEST_TABLE = 72


def _doctor(args: argparse.Namespace) -> int:
    # Not before the command runs: these import requests and jinja2.
    from fmnist_tfds.doctor import environment, page
    from fmnist_tfds.doctor import report as doctor
    from fmnist_tfds.exchange import tool_folders

    found, dataset = _examined(args)
    if args.html:
        _write(args.html, "")  # an unwritable place is told before the examination, not after
    examine = functools.partial(doctor.examine, dataset=dataset) if dataset else doctor.examine
    waiting = f"looking at {len(found.mirrors)} sources, for {doctor.limit_s(found):.0f} s at most"
    with rich_console.Console(stderr=True).status(waiting):
        report = examine(
            found,
            environment.check(loader.conventional_variables(), found),
            adopting=_adopting if dataset is None else None,
            local=tool_folders.existing() if found.adopt_local else (),
        )
    if args.html:
        _write(args.html, page.page(report))
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    elif args.allowlist:
        print(report.allowlist, end="")
    else:
        print_report(report, rich_console.Console(highlight=False))
    # Where no way exists is just where the request is needed, also by a script.
    return 0 if report.ok or args.allowlist else 3


def _examined(args: argparse.Namespace) -> tuple[settings.Settings, artifacts.ArtifactSet | None]:
    """The settings, and the data set --dataset if not Fashion-MNIST."""
    if not args.dataset:
        return flags.settings_of(args), None
    return any_dataset.plan_of(args).examined(any_dataset.pinned(args.dataset))


def _adopting(place: pathlib.Path) -> errors.FmnistError | None:
    from fmnist_tfds.exchange.adopt import adopt

    with tempfile.TemporaryDirectory(prefix="fmnist_tfds-") as scratch:
        try:
            adopt.adopt(place, pathlib.Path(scratch))
        except errors.FmnistError as error:
            return error
    return None


def _write(path: pathlib.Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.ConfigError(
            f"--html {path}: cannot be written: {error.strerror or error}",
            hint="name a file in a folder that exists and is yours",
        ) from error


def print_report(report: findings.Report, console: rich_console.Console) -> None:
    """The report for people, fitted to the console's width."""
    if report.sources and console.width >= _NARROWEST_TABLE:
        console.print(_table(report.sources))
    else:
        _print_blocks(report.sources, console)
    groups: dict[tuple[str, ...], list[findings.Source]] = {}
    for source in report.sources:
        groups.setdefault(_group_of(source), []).append(source)
    for group in groups.values():
        _print_details(group, console)
    console.print()
    _print(console, report.headline, style="bold green" if report.ok else "bold red")
    for line in report.verdict:
        _print(console, line.strip(), indent=2 + len(line) - len(line.lstrip()))
    if report.settings:
        console.print()
        _print(console, "settings that contradict each other or cannot work", style="bold")
    for finding in report.settings:
        _print(console, f"{finding.subject}: {finding.problem}", indent=2)
        _print(console, finding.remedy, indent=4)
    for remedy in report.remedies:
        console.print()
        _print(console, f"# {remedy.title}", style="bold")
        # Lines to paste are never wrapped.
        console.print(remedy.text, markup=False, soft_wrap=True)


def _table(sources: Sequence[findings.Source]) -> rich_table.Table:
    table = rich_table.Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column()
    table.add_column("source (ms)", overflow="fold")
    for name in findings.STAGES:
        table.add_column(name, justify="right", no_wrap=True, min_width=max(len(name), 5))
    for number, source in enumerate(sources, start=1):
        stages = (rich_text.Text(_cell(s), _STYLES[s.outcome]) for s in source.stages)
        table.add_row(str(number), rich_text.Text(summary.title_of(source)), *stages)
    return table


def _print_blocks(sources: Sequence[findings.Source], console: rich_console.Console) -> None:
    for number, source in enumerate(sources, start=1):
        _print(console, f"{number}. {summary.title_of(source)}", style="bold")
        for stage in source.stages:
            if stage.outcome in ("ok", "failed"):
                ms = f"{stage.ms:.0f} ms" if stage.ms is not None else ""
                line = rich_text.Text(f"   {stage.name:8}")
                line.append(f"{stage.outcome:7}", style=_STYLES[stage.outcome])
                line.append(ms)
                line.rstrip()
                console.print(line, soft_wrap=True)


def _group_of(source: findings.Source) -> tuple[str, ...]:
    """Sources with the same trouble are shown together; each of the others stands alone."""
    if source.cause and not (source.serves or source.hops or source.notes):
        return source.cause, source.owner, source.remedy, source.proxy, source.issuer
    return (source.url,)


def _print_details(group: Sequence[findings.Source], console: rich_console.Console) -> None:
    first = group[0]
    lines: list[tuple[str, str]] = []
    if first.cause:
        lines.append(("cause", first.cause))
        lines += [("seen", text) for text in dict.fromkeys(s.evidence for s in group)]
        lines += [("whose", findings.OWNERS.get(first.owner, "")), ("do", first.remedy)]
        if first.serves:
            lines.append(("has", ", ".join(first.serves)))
    lines += [("address", s.address_problem) for s in group]
    if first.proxy and (first.cause or first.proxy_answered):
        said = next((f", {s.proxy_answered}" for s in group if s.proxy_answered), "")
        lines.append(("proxy", f"{first.proxy}{said} [{first.proxy_origin}]"))
    lines.append(("signer", first.issuer))
    lines += [("leads to", hop) for hop in first.hops]
    lines += [("note", note) for note in first.notes]
    if first.probes > 1:
        before = "" if first.cause else f"; failed before it worked: {first.disturbances[0]}"
        lines.append(("tried", f"{first.probes} times{before}"))
    if not any(text for _, text in lines):
        return
    console.print()
    for source in group:
        _print(console, source.url, style="bold")
    for label, text in lines:
        if text:
            _print(console, f"{label}: {text}", indent=2, hanging=len(label) + 2)


def _print(
    console: rich_console.Console, text: str, *, indent: int = 0, hanging: int = 0, style: str = ""
) -> None:
    """`text` wrapped at spaces to the console's width; what is to be pasted stays in one piece."""
    rest = indent + (hanging if console.width >= _NARROWEST_TABLE else 2)
    lines = textwrap.wrap(
        text,
        console.width,
        initial_indent=" " * indent,
        subsequent_indent=" " * rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines:
        console.print(line, style=style, markup=False, soft_wrap=True)


def _cell(stage: findings.Stage) -> str:
    if stage.outcome != "ok":
        return _MARKS[stage.outcome]
    return "ok" if stage.ms is None else f"{stage.ms:.0f}"


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
    flags.add_dataset_flag(parser)


COMMANDS = (
    command.Command(
        name="doctor",
        run=_doctor,
        add_flags=_doctor_flags,
        help="what is in the way, whose it is, what to do",
        example="--html report.html",
        synonyms=("diagnose", "diagnosis", "ping", "test", "status"),
    ),
)
