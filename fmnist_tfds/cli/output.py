"""What the command line prints: progress, tables, errors. Results to stdout, the rest to stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging as absl_logging
from rich import console as rich_console
from rich import progress as rich_progress
from rich import table as rich_table

from fmnist_tfds import errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.download import progress as download_progress

if TYPE_CHECKING:
    from fmnist_tfds.download import results
    from fmnist_tfds.training import quickstart


def _stderr() -> rich_console.Console:
    return rich_console.Console(stderr=True, highlight=False, soft_wrap=True)


class _Lines(logging.Formatter):
    """The message alone, URLs in it masked, whoever logs it; tracebacks only where asked for."""

    def __init__(self, *, with_tracebacks: bool) -> None:
        super().__init__("%(message)s")
        self._with_tracebacks = with_tracebacks

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record) if self._with_tracebacks else record.getMessage()
        return urls.mask_urls(text)


def _is_news(record: logging.LogRecord) -> bool:
    """False for what Beam says of itself: TFDS imports it for every build where it is there."""
    return not record.getMessage().startswith("apitools not found")


def set_up_logging(verbosity: int) -> None:
    """Our own reports, and others' warnings, as plain lines on stderr.

    Verbosity 1 adds others' information; below 0 nothing is said but errors.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(with_tracebacks=verbosity >= 1))
    handler.addFilter(_is_news)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    absl_logging.use_python_logging(quiet=True)
    level = absl_logging.INFO if verbosity >= 1 else absl_logging.WARNING
    absl_logging.set_verbosity(level)
    logging.getLogger("fmnist_tfds").setLevel(logging.INFO if verbosity >= 0 else logging.ERROR)


_EXIT_CODES: tuple[tuple[type[errors.FmnistError], int], ...] = (
    (errors.ConfigError, 2),
    (errors.ArgumentError, 2),
    (errors.ObtainError, 3),
    (errors.StoreError, 3),
    (errors.ContentError, 4),
)


def exit_code(error: errors.FmnistError) -> int:
    """The process's exit code for an error: see the README."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def print_line(text: str) -> None:
    """One line to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_error(error: errors.FmnistError, *, as_json: bool) -> None:
    """The message and the hint to stderr; with as_json one document to stdout as well.

    URLs in the message are masked here as well: what was typed in the wrong place is quoted there.
    """
    message = urls.mask_urls(error.message)
    if as_json:
        document = {
            "ok": False,
            "error": {
                "reference": error.reference,
                "message": message,
                "hint": error.hint,
            },
        }
        print(json.dumps(document, indent=2))
    console = _stderr()
    console.print("error:", style="bold red", end=" ")
    console.print(message, markup=False)
    if error.hint:
        console.print("hint:", style="bold", end=" ")
        console.print(error.hint, markup=False)


def print_traceback(error: BaseException) -> None:
    """The traceback to stderr."""
    print(urls.mask_urls("".join(traceback.format_exception(error))), file=sys.stderr)


class _Bars:
    """One bar a file on a terminal."""

    def __init__(self, bars: rich_progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._lock = threading.Lock()

    def update(self, file: str, source: str, received: int, total: int) -> None:
        host = (urllib.parse.urlsplit(source).netloc or "a folder")[:22]
        with self._lock:
            if file not in self._tasks:
                # What lay here before, of a file that is resumed, is no speed.
                self._tasks[file] = self._bars.add_task(
                    file, total=total, completed=received, source=host
                )
        self._bars.update(self._tasks[file], completed=received, total=total, source=host)

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False)

    def done(self, file: str, source: str) -> None:
        self._bars.console.print(f"{file}: verified, from {source}", markup=False)


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Iterator[download_progress.Progress]:
    """Bars on a terminal, plain lines in a log, nothing if quiet."""
    if quiet:
        yield download_progress.Silent()
    elif not sys.stderr.isatty():
        yield download_progress.Lines()
    else:
        columns = (
            # 80 columns in all: file, source, share, rate, time left.
            rich_progress.TextColumn(
                "{task.description} {task.fields[source]}",
                markup=False,
                table_column=rich_table.Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            # The last to go on a narrow terminal.
            rich_progress.TaskProgressColumn(
                table_column=rich_table.Column(no_wrap=True, min_width=4)
            ),
            rich_progress.TransferSpeedColumn(table_column=rich_table.Column(no_wrap=True)),
            rich_progress.TimeRemainingColumn(table_column=rich_table.Column(no_wrap=True)),
        )
        with rich_progress.Progress(*columns, console=_stderr(), transient=True) as bars:
            yield _Bars(bars)


def print_files(outcome: results.Result) -> None:
    """One line a file: path, and where it came from."""
    for file in outcome.files.values():
        print(f"{file.path}  verified  from {file.source}")


def print_built(builder: Any, seconds: float) -> None:
    """Where a data set is prepared, since when, and how it is loaded: two lines."""
    splits = builder.info.splits
    examples = ", ".join(f"{split.num_examples:,} {name}" for name, split in splits.items())
    how = f"prepared in {seconds:.0f} s" if builder.prepared_now else "already prepared"
    print(f"{builder.info.full_name}: {how}: {examples} examples in {builder.data_path}")
    print(f"load it: tfds.load({builder.name!r}, data_dir={str(builder.data_dir_root)!r})")


def print_verdicts(rows: Sequence[Mapping[str, str]]) -> None:
    """One line a file: verdict, path, detail."""
    width = max((len(row["verdict"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['verdict']:{width}}  {row['path']}")
        if row["detail"]:
            print(f"{'':{width}}    {row['detail']}")


def print_settings(found: settings.Settings) -> None:
    """Every setting with its value and origin, secrets masked."""
    values: dict[str, Any] = {
        "cache.dir": found.cache_dir,
        "manual.dir": found.manual_dir or "(none)",
        "offline": found.offline,
        "adopt_local": found.adopt_local,
    }
    for field in dataclasses.fields(found.network):
        value = getattr(found.network, field.name)
        if field.name == "proxy" and value:
            value = urls.mask_proxy(value)
        values[f"network.{field.name}"] = "(none)" if value is None else value
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:{width}}  {value}  [{found.origins.get(name, 'default')}]")
    environment = found.environment
    for scheme, proxy in environment.proxies.items():
        print(f"{scheme + ' proxy':{width}}  {urls.mask_proxy(proxy)}  [environment]")
    if environment.no_proxy:
        print(f"{'no proxy for':{width}}  {urls.mask_no_proxy(environment.no_proxy)}  [NO_PROXY]")
    if environment.ca_bundle:
        print(f"{'ca bundle':{width}}  {environment.ca_bundle}  [environment]")
    print(f"mirrors  [{found.origins['mirrors']}]")
    for number, mirror in enumerate(found.mirrors, start=1):
        print(f"  {number}. {mirror.name + '  ' if mirror.name else ''}{_mirror(mirror)}")


def _mirror(mirror: settings.Mirror) -> str:
    remarks = []
    if mirror.auth:
        remarks.append(f"auth {mirror.auth.type}")
    remarks += [f"header {name}" for name, _ in mirror.headers]
    if mirror.proxy is not None:
        remarks.append(f"proxy {urls.mask_proxy(mirror.proxy) or 'none'}")
    if mirror.insecure_tls:
        remarks.append("TLS NOT VERIFIED")
    return urls.mask_url(mirror.url) + (f"  ({', '.join(remarks)})" if remarks else "")


def print_banner(lines: Sequence[str], failure: str) -> None:
    """The failure, then a box that cannot be overlooked, to stderr."""
    print_line(failure)
    width = max(map(len, lines)) + 4
    console = _stderr()
    bar = "#" * width
    for line in (bar, *(f"# {text:{width - 4}} #" for text in lines), bar):
        console.print(line, style="bold white on red", markup=False)


def print_quickstart(done: quickstart.Quickstart, banner: Sequence[str]) -> None:
    """What was made, where, and how good."""
    if done.failure is not None:
        print_banner(banner, "")
    title = "Fashion-MNIST" if done.failure is None else "the SYNTHETIC STAND-IN"
    print(
        f"test accuracy {done.metrics['test_accuracy']:.2%} on {title} "
        f"({done.metrics['test_examples']:,} test images, {done.metrics['epochs']} epochs, "
        f"{done.metrics['images_per_s']:,.0f} images/s)"
    )
    for path in sorted(done.out.iterdir()):
        if path.is_file():
            print(path)
