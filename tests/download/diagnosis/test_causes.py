"""The table of causes is whole, and its rows do not contradict one another."""

from __future__ import annotations

import typing

import pytest

from fmnist_tfds.download.diagnosis import causes

# The promise to users: these words stand in receipts and in `--json`.
VOCABULARY = """
dns-failure connect-refused connect-timeout tls-untrusted tls-intercepted proxy-auth-required
proxy-auth-ntlm proxy-denied captive-portal waf-blocked user-agent-blocked geo-blocked rate-limited
object-missing-or-private size-limited auth-required forbidden not-found server-error stalled slow
truncated reset redirect-loop insecure-redirect wrong-content impostor too-large checksum-mismatch
deadline offline unsupported-scheme
"""
ROWS = pytest.mark.parametrize("cause", causes.CAUSES.values(), ids=lambda cause: cause.name)


def test_type_table_and_promised_vocabulary_are_one_list():
    assert list(typing.get_args(causes.CauseName)) == list(causes.CAUSES) == VOCABULARY.split()


@ROWS
def test_cause_has_a_meaning_and_a_remedy_that_an_explanation_defaults_to(cause):
    found = causes.named(cause.name)
    assert (found.evidence, found.remedy) == (cause.meaning, cause.remedy)
    assert cause.meaning
    assert cause.remedy


@ROWS
def test_facts_of_a_cause_do_not_contradict_one_another(cause):
    assert cause.is_unreachable or not cause.is_silence
    assert not (cause.permission_helps and cause.lacks_the_file)
    assert cause.keeps_part or not cause.is_transient, "a repetition would begin anew"


def test_remedies_that_promise_the_kept_part_are_true():
    promise = [cause for cause in causes.CAUSES.values() if "part is kept" in cause.remedy]
    assert promise
    assert all(cause.keeps_part and cause.is_transient for cause in promise)


def test_firewall_administrator_is_asked_to_allow_what_a_firewall_forbids_and_nothing_else():
    allowable = {cause.name for cause in causes.CAUSES.values() if cause.permission_helps}
    assert allowable == {"connect-refused", "connect-timeout", "tls-intercepted", "proxy-denied"}


def test_evidence_is_cut_to_be_shown():
    assert causes.shortened("x" * 300) == "x" * 300
    assert causes.shortened("x" * 301) == "x" * 300 + "…"
