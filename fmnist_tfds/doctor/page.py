"""The report as one page: no script, no outside resource, for phones, for paper, for readers. Pure.

Source: WCAG 2.2 for contrast (4.5:1 for text) and table headers.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from fmnist_tfds.doctor import findings, summary

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --soft: #55555f; --line: #c9c9d2;
  --panel: #f4f4f7; --good: #11652f; --bad: #a4161a; --bar: #3a6ea5; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #16161a; --soft: #b4b4c0;
  --line: #44444f; --panel: #222229; --good: #7ddb9b; --bad: #ff9a94; --bar: #7fb2e5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem;
  border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.verdict { border-left: .4rem solid var(--bad); background: var(--panel); padding: .6rem 1rem; }
.verdict.good { border-color: var(--good); }
.ok { color: var(--good); font-weight: 600; } .failed { color: var(--bad); font-weight: 700; }
.soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
td.wide { overflow-wrap: anywhere; min-width: 9rem; }
td.ms { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; } .timeline { table-layout: fixed; }
.timeline th:nth-child(1) { width: 5rem; } .timeline th:nth-child(2) { width: 5rem; }
.timeline th:nth-child(3) { width: 4.5rem; text-align: right; }
.bar { display: block; height: .7rem; min-width: 2px; background: var(--bar); }
.bar.failed { background: var(--bad); } td.time { width: 30%; min-width: 5rem; }
dl { margin: .4rem 0; } dt { float: left; clear: left; width: 6rem; color: var(--soft); }
dd { margin: 0 0 .2rem 6.5rem; }
pre { background: var(--panel); border: 1px solid var(--line); padding: .6rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
@media (max-width: 34rem) { td.time { display: none; } th.time { display: none; }
  dt { float: none; } dd { margin-left: 0; } .scroll { font-size: .75rem; }
  .scroll th, .scroll td { padding: .3rem .1rem; }
  .scroll tbody th { overflow-wrap: anywhere; min-width: 4.5rem; } }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #333;
  --panel: #fff; --line: #888; --good: #11652f; --bad: #a4161a; --bar: #3a6ea5; }
  body { max-width: none; font-size: 10pt; padding: 0; } pre, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
_WORDS = {"ok": "ok", "failed": "failed", "skipped": "none", "not reached": "not reached"}


def page(report: findings.Report) -> str:
    """The whole page."""
    parts = [
        _summary(report),
        _sources(report.sources),
        _settings(report.settings),
        _remedies(report.remedies),
        _details(report.sources),
        _request(report.allowlist),
    ]
    title = "Can this machine get Fashion-MNIST?"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{title} {_e(report.headline)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{''.join(parts)}</main>\n"
        f'<footer><p class="soft">{_e(report.package)}, {_e(report.date)}, '
        f"examined in {report.seconds:g} s. Secrets are masked.</p></footer>\n</body>\n</html>\n"
    )


def _summary(report: findings.Report) -> str:
    lines = "".join(f"<li>{_e(line.strip())}</li>" for line in report.verdict)
    good = " good" if report.ok else ""
    answer = "Yes." if report.ok else "No."
    return (
        f'<section class="verdict{good}" aria-label="verdict"><p><strong>{answer} '
        f"{_e(report.headline)}.</strong></p>{f'<ul>{lines}</ul>' if lines else ''}</section>\n"
    )


def _sources(sources: Sequence[findings.Source]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in findings.STAGES)
    rows = "".join(
        f'<tr><th scope="row">{_e(summary.title_of(source))}</th>'
        + "".join(f'<td class="{stage.outcome}">{_cell(stage)}</td>' for stage in source.stages)
        + "</tr>\n"
        for source in sources
    )
    return (
        '<section><h2>Every source at a glance</h2>\n<div class="scroll" tabindex="0" '
        'role="region" aria-label="table of sources"><table>\n'
        "<caption>Milliseconds, or what came of each stage on the way</caption>\n"
        f'<thead><tr><th scope="col">source</th>{head}</tr></thead>\n<tbody>{rows}</tbody>\n'
        "</table></div></section>\n"
    )


def _cell(stage: findings.Stage) -> str:
    if stage.outcome == "ok" and stage.ms is not None:
        return f"{stage.ms:.0f}"
    if stage.outcome in ("skipped", "not reached"):
        word = "does not apply" if stage.outcome == "skipped" else "not reached"
        mark = "&ndash;" if stage.outcome == "skipped" else "&middot;"
        return f'<span title="{word}" aria-label="{word}" role="img" class="soft">{mark}</span>'
    return _WORDS[stage.outcome]


def _details(sources: Sequence[findings.Source]) -> str:
    slowest = max((s.ms or 0.0 for source in sources for s in source.stages), default=0.0) or 1.0
    body = "".join(_detail(source, slowest) for source in sources)
    return f"<h2>Source by source</h2>\n{body}"


def _detail(source: findings.Source, slowest: float) -> str:
    pairs = [
        ("address", source.url),
        ("cannot work", source.address_problem),
        ("cause", source.cause),
        ("seen", source.evidence),
        ("whose", findings.OWNERS.get(source.owner, "") if source.cause else ""),
        ("remedy", source.remedy),
        ("proxy", _proxy(source)),
        ("signer", source.issuer),
        ("redirects", " → ".join(source.hops)),
        ("notes", "; ".join(source.notes)),
        ("failed first", "" if source.cause else ", ".join(source.disturbances)),
        ("clock", "" if source.clock_skew_s is None else f"{source.clock_skew_s:+.0f} s"),
        ("files", ", ".join(source.serves) or "none"),
        ("probes", str(source.probes)),
    ]
    facts = "".join(f"<dt>{name}</dt><dd>{_e(text)}</dd>\n" for name, text in pairs if text)
    rows = "".join(
        _row(stage, slowest) for stage in source.stages if stage.outcome in ("ok", "failed")
    )
    timeline = (
        '<table class="timeline">'
        "<caption>Timeline; bars of all sources have one scale</caption>"
        '<thead><tr><th scope="col">stage</th><th scope="col">outcome</th><th scope="col">ms</th>'
        '<th scope="col" class="time">time</th><th scope="col">seen</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    title = _e(summary.title_of(source))
    return f"<section><h3>{title}</h3>\n<dl>{facts}</dl>\n{timeline}</section>\n"


def _row(stage: findings.Stage, slowest: float) -> str:
    ms = "" if stage.ms is None else f"{stage.ms:.1f}"
    share = min(100.0, 100.0 * (stage.ms or 0.0) / slowest)
    bar = f'<span class="bar {stage.outcome}" style="width:{share:.1f}%"></span>' if ms else ""
    return (
        f'<tr><th scope="row">{stage.name}</th><td class="{stage.outcome}">{stage.outcome}</td>'
        f'<td class="ms">{ms}</td><td class="time">{bar}</td>'
        f'<td class="wide">{_e(stage.detail)}</td></tr>\n'
    )


def _proxy(source: findings.Source) -> str:
    if not source.proxy:
        return ""
    said = f", {source.proxy_answered}" if source.proxy_answered else ""
    return f"{source.proxy}{said} (from {source.proxy_origin})"


def _settings(found: Sequence[findings.Finding]) -> str:
    if not found:
        return ""
    body = "".join(
        f"<h3>{_e(f.subject)}</h3>\n<dl><dt>problem</dt><dd>{_e(f.problem)}</dd>\n"
        f"<dt>remedy</dt><dd>{_e(f.remedy)}</dd></dl>\n"
        for f in found
    )
    return (
        f"<section><h2>Settings that contradict each other or cannot work</h2>\n{body}</section>\n"
    )


def _remedies(found: Sequence[findings.Remedy]) -> str:
    if not found:
        return ""
    body = "".join(f"<h3>{_e(r.title)}</h3>\n<pre>{_e(r.text)}</pre>\n" for r in found)
    return f"<section><h2>What to do</h2>\n{body}</section>\n"


def _request(text: str) -> str:
    return (
        f"<section><h2>The request to the firewall's keeper</h2>\n<pre>{_e(text)}</pre></section>\n"
    )


def _e(text: str) -> str:
    return html.escape(text, quote=True)
