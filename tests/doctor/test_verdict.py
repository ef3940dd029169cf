"""What follows from what was seen: whose fault it is, what to paste, which hosts to ask for."""

from __future__ import annotations

import re
import subprocess

import pytest

from fmnist_tfds import catalog
from fmnist_tfds.doctor import allowlist, findings, remedies, summary
from fmnist_tfds.download.diagnosis import causes

DATASET = catalog.FASHION_MNIST
ALL = tuple(file.name for file in DATASET.files)
DAY_S = 86_400.0


def seen(host, cause="", *, scheme="https", passed=(), **more):
    """A source as it was examined: by `cause` without any file, else with all four."""
    explained = causes.named(cause) if cause else None
    found = {
        "url": f"{scheme}://{host}/",
        "host": host,
        "stages": tuple(findings.Stage(name, "ok") for name in passed),
        "serves": () if cause else ALL,
        "cause": cause,
        "evidence": explained.evidence if explained else "",
        "remedy": explained.remedy if explained else "",
    }
    return findings.Source(**found | more)


REFUSED = seen("a.example", "connect-refused")
NO_NAME = findings.Stage("dns", "failed")
UNRESOLVED = seen("a.example", "dns-failure")
WORKS = seen("b.example", passed=("dns", "tcp", "tls", "http"))


@pytest.mark.parametrize(
    ("first", "others", "owner"),
    [
        # The proxy's own name does not resolve, or nothing listens there.
        (seen("a.example", "dns-failure", proxy="p.corp:1"), [], "this machine"),
        (seen("a.example", "connect-refused", proxy="p.corp:1"), [], "proxy"),
        # The proxy was reached; what lies behind it was not.
        (seen("a.example", "connect-refused", proxy="p.corp:1", passed=("tcp",)), [], "server"),
        (UNRESOLVED, [], "own line"),
        (UNRESOLVED, [WORKS], "server"),
        (UNRESOLVED, [seen("b.example", "dns-failure")], "own line"),
        (UNRESOLVED, [seen("b.example", "dns-failure", stages=(NO_NAME,))], "own line"),
        (seen("a.example", "connect-timeout"), [WORKS], "server"),
        (seen("a.example", "connect-timeout"), [seen("b.example", "connect-timeout")], "own line"),
        # One answered before it broke off: the line is not dead.
        (seen("a.example", "reset"), [seen("b.example", "stalled", passed=("http",))], "server"),
        (seen("a.example", "reset"), [seen("b.example", "stalled")], "own line"),
        # Another source of the same host says nothing about the line.
        (seen("a.example", "connect-timeout"), [seen("a.example")], "own line"),
        (seen("a.example", "tls-untrusted"), [], "server"),
        (seen("a.example", "tls-untrusted"), [seen("b.example", clock_skew_s=5.0)], "server"),
        # Certificates are not valid yet, or no more, by a clock that is off by more than a day.
        (
            seen("a.example", "tls-untrusted"),
            [seen("b.example", clock_skew_s=-3 * DAY_S)],
            "this machine",
        ),
        (seen("", "not-found", url="/data/cache"), [], "this machine"),
        (seen("", "not-found", url="file:///data/"), [], "this machine"),
        (seen("a.example", disturbances=("reset",)), [], "passing disturbance"),
        (WORKS, [], ""),
    ],
)
def test_owner_of_a_failure_follows_from_the_other_sources(first, others, owner):
    assert summary.with_owners([first, *others])[0].owner == owner


def _verdict(*sources):
    return summary.judge(summary.with_owners(sources), DATASET)


def test_verdict_names_who_is_in_the_way():
    found = _verdict(
        seen("a.example", "tls-intercepted", issuer="Corp CA"),
        seen("b.example", "proxy-denied", proxy="p.corp:3128", probes=3),
    )
    text = "\n".join(found.lines)
    assert "something on the way that answers in the server's place: Corp CA" in text
    assert "the proxy or web filter: p.corp:3128 (proxy-denied)" in text
    assert "not temporary: tried 3 times, with the same result" in text
    assert found.headline == "Fashion-MNIST is not available from any of 2 sources"
    assert not found.ok


def test_verdict_counts_as_working_only_what_has_every_file():
    part = seen("a.example", "size-limited", serves=ALL[1:])
    found = _verdict(part)
    assert not found.ok
    assert found.headline.endswith(f"available only in part: no source serves {ALL[0]}")
    assert _verdict(part, WORKS).headline.endswith("available, from 1 of 2 sources")
    assert "works: b.example" in _verdict(part, WORKS).lines


def test_verdict_says_what_failed_before_it_worked():
    found = _verdict(seen("a.example", disturbances=("server-error",)))
    assert "temporary failure at a.example: server-error, then it worked" in found.lines


@pytest.mark.parametrize(
    ("skews", "said"),
    [
        ([3.0, -2.0], "clock: agrees with the servers' within 1 s"),
        ([-300.0], "5 minutes behind the servers' time: this machine's clock, or that server's,"),
        ([7200.0, 7200.0], "2 hours ahead of the servers' time: this machine's clock is wrong"),
        # One of three is off: it is that server's, and the others' time counts.
        ([0.0, 1.0, 4 * DAY_S], "h2.example has a wrong clock: this machine is 4 days ahead of it"),
    ],
)
def test_verdict_says_whose_clock_is_wrong(skews, said):
    sources = [seen(f"h{i}.example", clock_skew_s=skew) for i, skew in enumerate(skews)]
    (line,) = [line for line in _verdict(*sources).lines if line.startswith("clock: ")]
    assert said in line


def _texts(*sources):
    owned = summary.with_owners(sources)
    ok = summary.judge(owned, DATASET).ok
    return [remedy.text for remedy in remedies.suggest(owned, ok, DATASET)]


def test_working_mirrors_are_to_be_listed_first():
    assert "export FMNIST_TFDS_MIRRORS='https://b.example/,default'" in _texts(REFUSED, WORKS)
    named = seen("b.example", name="corp")
    other = seen("c.example")
    assert 'order = "corp,https://c.example/"' in _texts(REFUSED, named, other)
    assert not any("MIRRORS" in text for text in _texts(WORKS, REFUSED)), "they are first already"
    part = seen("b.example", "size-limited", serves=ALL[1:])
    assert not any("b.example" in text for text in _texts(REFUSED, part))


def test_mirror_with_a_secret_in_its_address_is_never_to_be_pasted():
    masked = seen("b.example", url="https://b.example/?***")
    assert not any("b.example" in text for text in _texts(REFUSED, masked))


def test_proxy_is_asked_for_only_where_none_is_in_use():
    assert any("HTTPS_PROXY=http://proxy.example" in text for text in _texts(UNRESOLVED))
    behind = seen("b.example", "proxy-denied", proxy="p.corp:1")
    assert not any("proxy.example" in text for text in _texts(UNRESOLVED, behind))


def test_authority_is_to_be_trusted_only_where_one_was_seen_that_is_not_trusted():
    private = seen("a.example", "tls-untrusted", issuer="House CA")
    assert any("PEM file of: House CA" in text for text in _texts(private))
    # A clock that is days off, and a file that is not there, are mended otherwise.
    early = seen("b.example", "tls-untrusted", issuer="Public CA", clock_skew_s=9 * DAY_S)
    nameless = seen("a.example", "tls-untrusted")
    assert not any("insecure_tls" in text for text in (*_texts(early), *_texts(nameless)))


def test_log_in_is_shown_by_reference_and_never_with_the_secret_in_the_file():
    (login,) = [text for text in _texts(seen("a.example", "auth-required")) if "auth = " in text]
    assert 'url = "https://a.example/"' in login
    assert 'token = "env:FMNIST_TOKEN"' in login


@pytest.mark.parametrize(
    ("cause", "is_asked"),
    [("proxy-denied", True), ("proxy-auth-required", True), ("connect-timeout", True),
     ("not-found", False), ("rate-limited", False)],
)  # fmt: skip
def test_permission_is_to_be_asked_for_where_it_would_help(cause, is_asked):
    texts = _texts(seen("a.example", cause))
    assert any("--allowlist" in text for text in texts) == is_asked


def test_files_are_to_be_carried_over_only_where_no_way_is_left():
    assert any("sha256sum" in text for text in _texts(REFUSED))
    assert not any("sha256sum" in text for text in _texts(REFUSED, WORKS))


def test_files_that_were_carried_over_are_proved_by_what_is_to_be_pasted(real_data, tmp_path):
    script = remedies.by_hand(DATASET).text
    proof = re.search(r"^sha256sum .*?^END$", script, re.MULTILINE | re.DOTALL)[0]
    done = subprocess.run(["bash", "-c", proof], cwd=real_data, capture_output=True, text=True)
    assert done.stdout.count(": OK\n") == len(ALL), done.stderr
    (tmp_path / ALL[3]).write_bytes(b"a login page")
    done = subprocess.run(["bash", "-c", proof], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0


def _request(*sources):
    """The hosts that the firewall request needs, those it may like, and the whole letter."""
    letter = allowlist.request(sources, DATASET)
    needed, _, rest = letter.partition("Seen from here")
    spare = rest.partition("Not needed, but good")[2].partition("To check afterwards")[0]
    hosts = r"(?m)^  (\S+) +TCP (\d+ \w+)$"
    return dict(re.findall(hosts, needed)), dict(re.findall(hosts, spare)), letter


def test_request_asks_for_one_whole_source_and_tells_of_the_others():
    part = seen("a.example", "size-limited", serves=ALL[1:])
    needed, spare, letter = _request(part, WORKS, seen("c.example", "not-found"))
    assert needed == {"b.example": "443 HTTPS"}
    # What lacks a file would not help.
    assert spare == {}
    assert f"curl -sSI https://b.example/{ALL[3]}\n" in letter
    assert max(map(len, letter.splitlines())) <= 78
    assert _request(WORKS, REFUSED)[1] == {"a.example": "443 HTTPS"}


def test_request_prefers_tls_to_fewer_hosts():
    plain = seen("a.example", scheme="http")
    led = seen("b.example", hops=("https://cdn.example/", "***"))
    needed, spare, letter = _request(plain, led)
    assert needed == {"b.example": "443 HTTPS", "cdn.example": "443 HTTPS"}
    assert "(b.example redirects there)" in letter
    assert "TCP None" not in letter, "a hop that is masked whole names no host"
    assert spare == {"a.example": "80 HTTP"}


def test_request_names_where_a_host_is_known_to_lead_though_it_was_not_reached():
    needed = _request(seen("github.com", "connect-timeout"))[0]
    assert set(needed) == {"github.com", "raw.githubusercontent.com"}


def test_request_asks_for_several_sources_where_only_together_they_have_all():
    one = seen("a.example", "not-found", serves=ALL[:2])
    two = seen("b.example", "not-found", serves=ALL[2:])
    no_more = seen("c.example", "not-found", serves=ALL[2:3])
    assert set(_request(one, two, no_more)[0]) == {"a.example", "b.example"}


def test_request_never_asks_for_an_address_that_cannot_work():
    page = seen("github.com", "wrong-content", address_problem="a web page")
    needed, spare, _ = _request(page, REFUSED)
    assert (set(needed), spare) == ({"a.example"}, {})
    assert "nothing to ask for" in _request(page)[2]


def test_request_says_which_proxy_was_seen_to_refuse():
    letter = _request(seen("a.example", "proxy-denied", proxy="p.corp:3128"))[2]
    assert "a.example: proxy-denied (proxy p.corp:3128): a proxy or web filter refuses" in letter
