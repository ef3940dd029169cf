"""[[rewrites]]: replaces the beginning of mirror URLs. Pure.

As in Bazel's downloader, but without patterns: the longest matching beginning wins, several
targets are tried in order, and a rewritten URL is not rewritten again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fmnist_tfds.config import schema, settings


@dataclasses.dataclass(frozen=True)
class _Table:
    to: list[str]


def read(tables: Sequence[Any], error: schema.Error) -> tuple[settings.Rewrite, ...]:
    """The [[rewrites]] of a TOML file, checked.

    Args:
        tables: as they stand in the file.
        error: makes the exception of a message and a hint.

    Raises:
        ConfigError: made by `error`.
    """
    found = []
    for number, table in enumerate(tables, start=1):
        where = f"[[rewrites]] number {number}"
        if not isinstance(table, dict):
            raise error(f"{where}: expected a table, got {schema.kind_of(table)}", "")
        # "from" is no name that a dataclass can have.
        rest = {key: value for key, value in table.items() if key != "from"}
        for key in rest:
            if key != "to":
                nearest = schema.nearest(key, ("from", "to"))
                raise error(
                    f"unknown key {key!r} in {where}", f"the nearest valid key is {nearest!r}"
                )
        targets = schema.check(rest, _Table, where, error).get("to", [])
        source = table.get("from")
        if not isinstance(source, str) or "://" not in source:
            raise error(f"{where}.from: expected the beginning of a URL, with its scheme", "")
        if not targets or not all(isinstance(to, str) and "://" in to for to in targets):
            raise error(f"{where}.to: expected an array of beginnings of URLs, at least one", "")
        found.append(settings.Rewrite(source, tuple(targets)))
    if loop := _loop(found):
        raise error(
            f"[[rewrites]]: a loop: {loop} is rewritten to what is rewritten to it",
            "a rewritten URL is not rewritten again: correct one of the two rules",
        )
    return tuple(found)


def apply(
    mirror: settings.Mirror,
    rules: Sequence[settings.Rewrite],
    named: Sequence[settings.Mirror],
) -> list[settings.Mirror]:
    """The mirrors that replace `mirror`, in order; [] if no rule matches.

    A target gets the settings, credentials included, of the named mirror whose URL it begins with,
    else none: those of the rewritten mirror were meant for another host.

    Args:
        mirror: whose URL may be rewritten.
        rules: the rules.
        named: the [[mirrors]] of the TOML file.
    """
    matching = [rule for rule in rules if mirror.url.startswith(rule.source)]
    if not matching:
        return []
    rule = max(matching, key=lambda each: len(each.source))
    rest = mirror.url.removeprefix(rule.source)
    found = []
    for target in rule.targets:
        url = target + rest
        owners = [each for each in named if url.startswith(each.url.partition("{")[0])]
        owner = max(owners, key=lambda each: len(each.url), default=None)
        found.append(
            dataclasses.replace(owner, url=url) if owner else settings.Mirror(url, mirror.name)
        )
    return found


def _loop(rules: Sequence[settings.Rewrite]) -> str:
    leads_to = {
        rule.source: [
            other.source
            for other in rules
            for to in rule.targets
            # A rule may match its own target: "https://" to "https://proxy.example/" is common.
            if to.startswith(other.source) and other.source != rule.source
        ]
        for rule in rules
    }
    for start in leads_to:
        seen, todo = set[str](), list(leads_to[start])
        while todo:
            here = todo.pop()
            if here == start:
                return start
            if here not in seen:
                seen.add(here)
                todo += leads_to[here]
    return ""
