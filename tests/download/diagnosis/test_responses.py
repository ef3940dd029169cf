"""Every public page is recognised for what it is, and for nothing else."""

from __future__ import annotations

import explain_cases
import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import block_pages, object_stores, responses

CASES = explain_cases.CASES
ROUTE = settings.Route(proxy="http://proxy.corp:3128")


def _explain(case):
    return responses.from_response(
        case.status, case.headers, case.body.encode(), url=case.url, route=ROUTE
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_response_has_its_cause_and_evidence(case):
    found = _explain(case)
    assert (found.cause, case.evidence in found.evidence) == (case.cause, True), found
    assert found.remedy


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_at_most_one_recogniser_matches_a_page(case):
    headers = {name.lower(): value for name, value in case.headers.items()}
    vendors = [
        s.vendor
        for s in block_pages.SIGNATURES
        if s.matches(case.status, headers, case.body.lower())
    ]
    assert len(vendors) <= 1, vendors


@pytest.mark.parametrize("signature", block_pages.SIGNATURES, ids=lambda s: s.vendor)
def test_every_recogniser_has_a_case_and_no_neighbour_shares_it(signature):
    """The confusion matrix: a recogniser's row holds its own cases only."""
    matched = [
        case
        for case in CASES
        if signature.matches(
            case.status, {k.lower(): v for k, v in case.headers.items()}, case.body.lower()
        )
    ]
    assert matched
    for case in matched:
        assert case.cause == signature.cause, case.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_names_its_source_and_kind_of_evidence(case):
    assert case.source
    assert case.seen in ("original", "quoted", "described")


def test_storage_error_of_an_unknown_code_still_names_store_and_code():
    found = object_stores.recognise(
        {"x-amz-request-id": "1"}, "<Error><Code>SomethingNew</Code></Error>"
    )
    assert (found.service, found.code) == ("Amazon S3", "SomethingNew")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("AccessDenied", "object-missing-or-private"),
        ("ResourceNotFound", "object-missing-or-private"),
        ("NoSuchBucket", "not-found"),
        ("ContainerNotFound", "not-found"),
        ("PermanentRedirect", "not-found"),
        ("ServerBusy", "rate-limited"),
        ("RequestLimitExceeded", "rate-limited"),
        ("InternalError", "server-error"),
        ("ServiceUnavailable", "server-error"),
        ("AuthenticationFailed", "auth-required"),
        ("NoAuthenticationInformation", "auth-required"),
        ("UserDisable", "forbidden"),
    ],
)
def test_code_of_a_storage_error_has_its_cause(code, cause):
    found = object_stores.recognise({}, f"<Error><Code>{code}</Code></Error>")
    assert (found.code, found.cause) == (code, cause)


def test_git_checkout_without_its_large_files_is_told_what_to_do():
    found = responses.from_identity(
        "lfs-pointer", "", body_start=b"version https://git-lfs", headers={}, url="https://m/f"
    )
    assert "git lfs pull" in found.remedy


def test_storage_error_with_status_200_is_recognised_by_its_code():
    found = responses.from_identity(
        "cloud-error",
        "",
        body_start=b"<Error><Code>NoSuchKey</Code></Error>",
        headers={},
        url="https://bucket.s3.example/f",
    )
    assert found.cause == "not-found"
    assert "NoSuchKey" in found.evidence


def test_wrong_proxy_password_is_told_from_a_missing_one():
    route = settings.Route(proxy="http://user:secret@proxy.corp:3128")
    found = responses.from_response(
        407, {"Proxy-Authenticate": "Basic"}, b"", url="http://mirror.example/f", route=route
    )
    assert "credentials given were refused" in found.evidence
    assert "secret" not in found.evidence


@pytest.mark.parametrize(
    ("verdict", "cause"),
    [
        ("impostor:mnist", "impostor"),
        ("lfs-pointer", "wrong-content"),
        ("truncated", "truncated"),
        ("corrupt", "checksum-mismatch"),
        ("unknown", "wrong-content"),
    ],
)
def test_identity_has_its_cause(verdict, cause):
    found = responses.from_identity(
        verdict, "MNIST digits", body_start=b"\x1f\x8b", headers={}, url="https://m.example/f"
    )
    assert found.cause == cause
    assert "MNIST digits" in found.evidence


@pytest.mark.parametrize(
    "name", ["zscaler", "fortigate", "palo alto", "blue coat", "akamai", "cloudflare blocked"]
)
def test_block_page_with_status_200_is_recognised_by_its_body(name):
    case = next(case for case in CASES if case.name == name)
    found = responses.from_identity(
        "html", "", body_start=case.body.encode(), headers={}, url=case.url
    )
    assert found.cause == case.cause
