"""Writes docs/causes.md from the table in fmnist_tfds/download/diagnosis/causes.py."""

from __future__ import annotations

import pathlib

from fmnist_tfds.doctor import findings
from fmnist_tfds.download.diagnosis import causes

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "causes.md"
_HEAD = """# Causes of failed downloads

The words that messages, receipts and `fmnist-tfds doctor` use for why one attempt failed. The
hint of an error may be more exact than the remedy here, since it knows what was seen.
"""


def page() -> str:
    """The whole page, Markdown."""
    return "\n".join([_HEAD, *(_section(cause) for cause in causes.CAUSES.values())])


def _section(cause: causes.Cause) -> str:
    note = f"\n{cause.note}\n" if cause.note else ""
    return f"""## {cause.name}

{cause.meaning[0].upper()}{cause.meaning[1:]}.

**Where it usually lies.** {findings.OWNERS[cause.owner]}.

**Remedy.** {cause.remedy}.
{note}"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
