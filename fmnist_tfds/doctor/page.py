"""The report as one HTML page: no script, no outside resource; for phones, print, screen readers.

The page is the template beside this module, page.html; every value in it is escaped.

Source: WCAG 2.2 for contrast (4.5:1 for text) and table headers.
"""

from __future__ import annotations

import jinja2

from fmnist_tfds.doctor import findings, summary


def page(report: findings.Report) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fmnist_tfds", "doctor"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(title_of=summary.title_of, facts=_facts)
    groups: dict[tuple[str, str, str], list[findings.Source]] = {}
    for source in report.sources:
        whose = findings.OWNERS.get(source.owner, "") if source.cause else ""
        groups.setdefault((source.cause, whose, source.remedy), []).append(source)
    measured = [s.ms or 0.0 for source in report.sources for s in source.stages]
    return environment.get_template("page.html").render(
        report=report,
        groups=groups,
        stages=findings.STAGES,
        slowest_ms=max(measured, default=0.0) or 1.0,
    )


def _facts(source: findings.Source) -> list[tuple[str, str]]:
    """What is known of a source, by name; "" for what is not."""
    said = f", {source.proxy_answered}" if source.proxy_answered else ""
    return [
        ("address", source.url),
        ("cannot work", source.address_problem),
        ("seen", source.evidence),
        ("proxy", f"{source.proxy}{said} (from {source.proxy_origin})" if source.proxy else ""),
        ("signer", source.issuer),
        ("redirects", " → ".join(source.hops)),
        ("notes", "; ".join(source.notes)),
        ("failed first", "" if source.cause else ", ".join(source.disturbances)),
        ("clock", "" if source.clock_skew_s is None else f"{source.clock_skew_s:+.0f} s"),
        ("files", ", ".join(source.serves) or "none"),
        ("probes", str(source.probes)),
    ]
