"""No secret comes out: kinds of secret x ways to fail x every way out, and masking alone."""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import json
import logging
import pathlib
import sys
import threading
import traceback
import urllib.parse
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import family

from fmnist_tfds import errors, obtain
from fmnist_tfds.cli import main
from fmnist_tfds.config import loader, settings, urls
from fmnist_tfds.doctor import report
from fmnist_tfds.download.transport import credentials, library_logs

FOUR, BODIES = family.make()
# One small file: what is said of a failure does not depend on how many files meet it.
DATASET = dataclasses.replace(FOUR, files=FOUR.files[3:])
PLAIN = "zq7XkTokenW9v-42"


def _forms(secret):
    """Every form in which somebody may write `secret`; made apart from the code under test."""
    quoted = urllib.parse.quote(secret, safe="")
    return {
        secret,
        secret.strip(),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(repr(secret))[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        quoted,
        quoted.lower(),
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(quoted),
        html.escape(secret),
        secret.lower(),
        secret.encode().decode("latin-1"),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(f"user:{secret}".encode()).decode().rstrip("="),
        base64.b64encode(f"user:{secret}".encode()).decode().rstrip("="),
    }


# --- ways to fail: each gets the secret's forms, as a hostile server would know them -------------


def _said(handler, status, reason, body, *headers):
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers, "", ""]
    handler.wfile.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + body)
    handler.close_connection = True


def _page(forms):
    return f"<!doctype html><title>you sent {' '.join(forms)}</title>".encode()


def _one_line(forms):
    return " ".join(" ".join(forms).split())


def _unauthorized(handler, forms):
    said = _one_line(forms)
    _said(handler, 401, said, _page(forms), f"WWW-Authenticate: {said}", f"Server: {said}")


def _web_page(handler, forms):
    _said(handler, 200, "OK", _page(forms), f"Via: {_one_line(forms)}")


def _only_the_secret(handler, forms):
    _said(handler, 200, "OK", min(forms, key=len).encode())


def _folded(handler, forms):
    _said(handler, 200, "OK", _page("\n  ".join(form) for form in forms))


def _cut_short(handler, forms):
    _said(handler, 200, "OK", b"<html><title>" + b"x" * 152 + f" {PLAIN}".encode() + b"</title>")


def _object_store(handler, forms):
    _said(handler, 403, "Forbidden", b"<Error><Code>%s</Code></Error>" % PLAIN.encode())


def _redirect(handler, forms):
    said = urllib.parse.quote(min(forms, key=len), safe="")
    here = f"localhost:{handler.server.server_port}"
    where = f"http://{said}:{said}@{here}/{said}/gone?{said}=1&x={said}#{said}"
    _said(handler, 302, "Found", b"", f"Location: {where}")


def _redirect_to_a_scheme(handler, forms):
    _said(handler, 302, "Found", b"", f"Location: {PLAIN}://{PLAIN}/")


def _no_header(handler, forms):
    _said(handler, 404, "Not Found", b"", "X-A: 1", f"this is no header {_one_line(forms)}")


def _no_status(handler, forms):
    handler.wfile.write(f"{_one_line(forms)} {_one_line(forms)}\r\n\r\n".encode())
    handler.close_connection = True


def _no_chunk(handler, forms):
    said = _one_line(forms).encode()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    handler.wfile.write(head + said + b"\r\n" + said + b"\r\n")
    handler.close_connection = True


def _cut(handler, forms):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n\x1f\x8b")
    handler.close_connection = True


def _proxy_refuses(handler, forms):
    said = _one_line(forms)
    offers = (f"Proxy-Authenticate: NTLM, {said}", f"X-Squid-Error: {said} 0", f"Via: {said}")
    _said(handler, 407, said, _page(forms), *offers)


ANSWERS = {
    answer.__name__.strip("_"): answer
    for answer in (
        *(_unauthorized, _web_page, _only_the_secret, _folded, _cut_short, _object_store),
        *(_redirect, _redirect_to_a_scheme, _no_header, _no_status, _no_chunk, _cut),
        _proxy_refuses,
    )
}


def _hostile(secret):
    """A server whose every folder answers in its own way; it knows the secret."""
    forms = sorted(_forms(secret))

    def answer(handler, name, body):
        folder = urllib.parse.urlsplit(handler.path).path.split("/")[1]
        ANSWERS.get(folder, _unauthorized)(handler, forms)

    return family.Mirror({}, answer)


# --- kinds of secret: TOML of the hostile mirror, made from its URL ------------------------------

KINDS = {
    "bearer": 'url = "{url}"\nauth = {{ type = "bearer", token = "env:SECRET" }}',
    "file": 'url = "{url}"\nauth = {{ type = "bearer", token = "file:secret" }}',
    "header": 'url = "{url}"\nheaders = {{ X-Key = "env:SECRET" }}',
    "basic": 'url = "{url}"\n'
    'auth = {{ type = "basic", username = "user", password = "env:SECRET" }}',
    "literal": "url = \"{url}\"\nheaders = {{ Authorization = '''Bearer {secret}''' }}",
    "netrc": 'url = "{url}"\nauth = {{ type = "netrc" }}',
    "signature": 'url = "{url}get?v=1&sig={quoted}"',
    "bare word": 'url = "{url}get?{quoted}"',
    "key": 'url = "{url}get?a;{quoted}="',
    "proxy": 'url = "http://mirror.invalid/{path}"\nproxy = "env:PROXY"',
    "general proxy": 'url = "http://mirror.invalid/{path}"',
}
VALUES = {
    "plain": PLAIN,
    "newline behind": PLAIN + "\n",
    "quotes": f"{PLAIN}'a\"b",
    "percent": f"{PLAIN}%41%2F%",
    "comma": f"{PLAIN},w,/x",
    "backslash": f"{PLAIN}\\n\\x41\\",
    "latin": f"{PLAIN}-ä-ß",
    "unicode": f"{PLAIN}-ä-€-😀",
    "newline within": f"{PLAIN}\nX-Other: {PLAIN}",
}
# Refused, as HTTP cannot carry it; percent-encoded in a URL it can.
REFUSED = {"newline within": ("bearer", "basic"), "unicode": ("bearer",)}
# Each value in a header, and by turns in one of the other places where its letters are escaped.
PLACED = [
    *(("bearer", value) for value in VALUES),
    *(("basic", value) for value in ("newline behind", "percent", "unicode", "newline within")),
    *(("signature", value) for value in ("quotes", "comma", "latin", "newline within")),
    *(("proxy", value) for value in ("plain", "backslash", "percent", "newline within")),
]


class _Site:
    """A TOML file with a hostile mirror (and a good one), and all that was said and written."""

    def __init__(self, inputs, outputs, monkeypatch, capsys):
        self._inputs, self.outputs, self._capsys = inputs, outputs, capsys
        self._monkeypatch = monkeypatch
        self.said = ""

    def write(self, kind, secret, url, good, *more):
        place, quoted = self._inputs / "site.toml", urllib.parse.quote(secret, safe="")
        (self._inputs / "secret").write_text(secret, encoding="utf-8")
        netrc = self._inputs / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login user password {secret.strip()}\n")
        proxy = f"http://user:{quoted}@{urllib.parse.urlsplit(url).netloc}"
        for name, value in (("SECRET", secret), ("PROXY", proxy), ("NETRC", str(netrc))):
            self._monkeypatch.setenv(name, value)
        if kind == "general proxy":
            self._monkeypatch.setenv("HTTP_PROXY", proxy)
            self._monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        lines = ["[network]", "attempts = 1", "hedge_after_s = 60.0"]
        places = [*(f"{url}{folder}/" for folder in ANSWERS), *more]
        for number, one in enumerate(places):
            made = KINDS[kind].format(url=one, path=one[len(url) :], secret=secret, quoted=quoted)
            lines += ["[[mirrors]]", f'name = "hostile-{number}"', made]
        lines += ["[[mirrors]]", 'name = "good"', f'url = "{good}"']
        names = ",".join(f"hostile-{number}" for number in range(len(places)))
        self.all = f"--mirrors={names},good"
        place.write_text("\n".join([f'order = "{names}"', *lines]), encoding="utf-8")
        self._flags = [f"--config_file={place}", f"--cache_dir={self.outputs}/cache"]

    def run(self, command, *flags):
        code = main.run([command, *self._flags, *flags])
        out, err = self._capsys.readouterr()
        self.said += out + err
        return code, out

    def everything(self):
        found = [p.read_bytes() for p in self.outputs.rglob("*") if p.is_file()]
        return b"\n".join([self.said.encode("utf-8", "surrogateescape"), *found])


@pytest.fixture
def site(tmp_path, tmp_path_factory, monkeypatch, capsys):
    monkeypatch.delenv("FMNIST_TFDS_MIRRORS")
    monkeypatch.setattr(obtain, "obtain", functools.partial(obtain.obtain, dataset=DATASET))
    monkeypatch.setattr(report, "examine", functools.partial(report.examine, dataset=DATASET))
    monkeypatch.setattr(report, "_MOST_PROBES", 1)
    return _Site(tmp_path_factory.mktemp("inputs"), tmp_path, monkeypatch, capsys)


WAYS_OUT = (
    ("config",),
    ("fetch",),
    ("fetch", "--json"),
    ("fetch", "--verbosity=1"),
    ("doctor", "--html={outputs}/page.html"),
    ("doctor", "--json"),
    ("doctor", "--allowlist"),
    # A cache of its own: another's memory would ask the good mirror first.
    ("fetch", "{all}", "--out={outputs}/out", "--cache_dir={outputs}/fresh"),
)


def _take(site, ways):
    """Runs the commands; returns the exit codes."""
    codes = []
    for command, *flags in ways:
        filled = [flag.format(outputs=site.outputs, all=site.all) for flag in flags]
        code, out = site.run(command, *filled)
        codes.append(code)
        if "--json" in flags:
            json.loads(out)
    return codes


def _assert_nothing_of(secret, text):
    low = text.lower()
    for form in _forms(secret):
        assert form.encode("utf-8", "surrogateescape").lower() not in low, form
    # Nor a piece of it, or what a cut left of it.
    start = low.find(PLAIN[:5].lower().encode())
    assert start < 0, text[max(0, start - 200) : start + 40]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_secret_comes_out_whatever_a_server_answers(kind, site, closed_port):
    # What the doctor says, in whatever form, is made of one look at each mirror.
    doctor = WAYS_OUT[4:7] if kind in ("bearer", "signature", "proxy") else WAYS_OUT[5:6]
    with _hostile(PLAIN) as hostile, family.Mirror(BODIES) as good:
        refused = f"http://127.0.0.1:{closed_port}/"
        site.write(kind, PLAIN, hostile.url, good.url, refused, "http://nowhere.invalid/")
        codes = _take(site, (*WAYS_OUT[:4], *doctor, WAYS_OUT[-1]))
    assert codes == [0, 3, 3, 3, *[3, 3, 0][: len(doctor)], 0]
    asked = {urllib.parse.urlsplit(path).path.split("/")[1] for path, _ in hostile.seen}
    assert asked >= ANSWERS.keys()
    receipt = json.loads((site.outputs / "out" / "receipt.json").read_text())
    assert any(file["failed_attempts"] for file in receipt["files"].values())
    assert len(list(site.outputs.rglob("receipt.json"))) == 2
    _assert_nothing_of(PLAIN, site.everything())


@pytest.mark.parametrize(("kind", "value"), PLACED)
def test_no_secret_comes_out_whatever_letters_it_is_made_of(kind, value, site):
    secret = VALUES[value]
    with _hostile(secret) as hostile, family.Mirror(BODIES) as good:
        site.write(kind, secret, hostile.url, good.url)
        codes = _take(site, (WAYS_OUT[2], WAYS_OUT[4], WAYS_OUT[-1]))
    is_refused = kind in REFUSED.get(value, ())
    assert codes == ([2, 3, 2] if is_refused else [3, 3, 0])
    _assert_nothing_of(secret, site.everything())
    if is_refused:
        assert "env:SECRET" in site.said
        assert not hostile.seen


@pytest.mark.parametrize(
    ("reference", "content", "said"),
    [
        ("env:SECRET", b"", "not set, or empty"),
        ("env:SECRET", b" \n", "not set, or empty"),
        ("env:SECRET", PLAIN.encode() + b"\r\nX: y", "it is not shown"),
        ("env:SECRET", PLAIN.encode() + b"\x07x", "it is not shown"),
        ("env:SECRET", PLAIN.encode() + b"\xff", "it is not shown"),
        ("file:secret", b"", "the file is empty"),
        ("file:secret", PLAIN.encode() + b"\n" + PLAIN.encode(), "it is not shown"),
        ("file:secret", PLAIN.encode() + b"\0", "it is not shown"),
        ("file:secret", PLAIN.encode("utf-16"), "it is not text"),
    ],
)
def test_a_value_that_is_no_line_of_text_is_refused_by_name_and_unseen(
    reference, content, said, tmp_path, monkeypatch
):
    (tmp_path / "secret").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    if b"\0" not in content:
        monkeypatch.setenv("SECRET", content.decode("utf-8", "surrogateescape"))
    with pytest.raises(errors.ConfigError) as caught:
        loader.resolve_secret(reference)
    shown = "".join(traceback.format_exception(caught.value))
    assert repr(reference) in str(caught.value)
    assert said in str(caught.value)
    assert PLAIN[:5] not in shown
    assert "Unicode" not in shown


@pytest.mark.parametrize("content", ["tok", " tok\n", "\ufefftok\r\n", "\ttok"])
def test_white_space_around_a_secret_is_no_part_of_it(content, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(content, encoding="utf-8")
    monkeypatch.setenv("SECRET", content.replace("\ufeff", ""))
    assert loader.resolve_secret("env:SECRET") == "tok"
    assert loader.resolve_secret(f"file:{tmp_path}/secret") == "tok"


def test_white_space_around_a_header_is_not_sent():
    mirror = settings.Mirror("https://a.example/", headers=(("X-Key", " word "),))
    secrets = credentials.Secrets(loader.resolve_secret)
    assert credentials.headers_for(mirror, secrets, home=True) == {"X-Key": "word"}


@pytest.mark.parametrize(
    "headers",
    [
        ((f"X-Key: {PLAIN}", "x"),),
        (("X-Key", f"{PLAIN}\nX-Other: y"),),
        (("X-Key", f"{PLAIN}€"),),
    ],
)
def test_a_header_that_http_cannot_carry_is_refused_and_unseen(headers):
    mirror = settings.Mirror(url="https://a.example/", name="corp", headers=headers)
    with pytest.raises(errors.ConfigError) as caught:
        credentials.headers_for(mirror, credentials.Secrets(loader.resolve_secret), home=True)
    assert str(caught.value).startswith("mirror corp: ")
    assert PLAIN[:5] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "listed",
    [
        f"https://u:{PLAIN},w@host.example/",
        f"https://u:p,{PLAIN}@host.example/",
        f"https://u:12,{PLAIN}@host.example/x/",
        f"https:/u:{PLAIN}@host.example/",
        f"https:///u:{PLAIN}@host.example/",
        f"https://host.example/?sig=a,{PLAIN}",
        f"https://host.example/?sig=a,{PLAIN}/b",
        f"https://host.example:{PLAIN}/",
        f"host.example/get?sig={PLAIN}",
        f"default,https://u:{PLAIN}",
        f"https://[{PLAIN}]/",
        f"https://u:[{PLAIN}]@host.example/",
        f"https://u:{PLAIN}\u2100@host.example/",
        f"https://a.example/,{PLAIN * 300}",
    ],
)
def test_a_mirror_list_that_was_cut_in_a_url_is_refused_and_unseen(listed, capsys):
    for flag in ("--json", "--verbosity=1"):
        assert main.run(["fetch", f"--mirrors={listed}", flag]) == 2
    out, err = capsys.readouterr()
    assert PLAIN[:5] not in out + err
    assert "mirrors (argument), entry" in out + err


def test_a_name_that_was_mistyped_is_still_shown():
    with pytest.raises(errors.ConfigError, match=r"'defalut' is no URL.*\n.*'default'"):
        loader.load(mirrors="defalut", environ={})


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://u:{PLAIN}",
        f"http://u:{PLAIN}/x@proxy:1",
        f"http://u:[{PLAIN}]@proxy:1",
        f"http://u:{PLAIN}\u2100@proxy:1",
        f"http://u:p@proxy:1/{PLAIN}",
        f"http://u:{PLAIN}@proxy:1\x07",
        f"{PLAIN}",
        f"u:{PLAIN}@127.0.0.1:1",
    ],
)
def test_a_proxy_that_is_no_url_is_named_by_its_variable_and_unseen(proxy, site, monkeypatch):
    site.write("bearer", "other-secret", "http://127.0.0.1:1/", "http://127.0.0.1:1/")
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("NO_PROXY", f"http://u:{PLAIN}@x.example,u:{PLAIN}@y.example")
    _take(site, (WAYS_OUT[0], WAYS_OUT[1], WAYS_OUT[4], WAYS_OUT[5]))
    if proxy != PLAIN:  # a host's name, as far as anybody can tell
        assert PLAIN[:5].encode() not in site.everything()


def test_what_is_typed_in_the_wrong_place_is_masked(capsys):
    for argv in (
        ["fetch", f"https://u:{PLAIN}@a.example/"],
        [f"https://u:{PLAIN}@a.example/?{PLAIN}"],
        ["fetch", f"https://a.example/?{PLAIN}"],
    ):
        assert main.run([*argv, "--json"]) == 2
    out, err = capsys.readouterr()
    assert PLAIN[:5] not in out + err


# --- masking alone ------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [*VALUES.values(), "hunter2"])
def test_mask_finds_every_form(secret):
    secrets = credentials.Secrets(loader.resolve_secret)
    secrets.add(secret.strip())
    for form in _forms(secret.strip()):
        shown = secrets.mask(f"said: {form}, or so")
        assert "***" in shown, form
        assert form not in shown
        assert (shown.startswith("said: "), shown.endswith(", or so")) == (True, True), shown


@pytest.mark.parametrize("secret", ["ÄÖÜßäöüñ", "пароль€😀", "😀😁😂🤣"])
def test_mask_hides_all_of_a_secret_that_has_no_letter_of_ascii(secret):
    """Where a part is ASCII, it is found by that in any form."""
    misread = secret.encode().decode("latin-1")  # http.client reads headers so
    old = secret.encode("latin-1", "replace")
    secrets = credentials.Secrets(loader.resolve_secret)
    secrets.add(secret)
    for form in (
        *(secret, json.dumps(secret)[1:-1], ascii(secret)[1:-1], repr(secret.encode())[2:-1]),
        *(misread, repr(misread)[1:-1], urllib.parse.quote(secret), urllib.parse.quote(misread)),
        *((urllib.parse.quote(old), repr(old)[2:-1]) if b"?" not in old else ()),
    ):
        assert secrets.mask(f"said: {form}.") == "said: ***.", form


def test_mask_finds_what_was_escaped_again_and_again():
    text = secret = "%/&&&&&&&&&%"
    secrets = credentials.Secrets(loader.resolve_secret)
    secrets.add(secret)
    for escape in (urllib.parse.quote_plus, html.escape, urllib.parse.quote_plus):
        text = escape(text)
    assert secrets.mask(f"said: {text}.") == "said: ***."


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("ab", "cabs from ab, %20ab%20 or (AB)", "cabs from ***, %20***%20 or (***)"),
        ("1", "127.0.0.1:8011", "127.0.0.***:8011"),
        ("vision", "supervision", "super***"),
        (PLAIN, f"starts with {PLAIN[:9]}", "starts with ***"),
        (PLAIN, f"the end of it: {PLAIN[4:]}", "the end of it: ***"),
        (PLAIN, "a token of 42 letters", "a token of 42 letters"),
    ],
)
def test_mask_leaves_other_words(secret, text, shown):
    secrets = credentials.Secrets(loader.resolve_secret)
    secrets.add(secret)
    assert secrets.mask(text) == shown


@pytest.mark.parametrize(
    "query", [f"sig={PLAIN}", PLAIN, f"a;{PLAIN}=", f"{PLAIN}=1", f"&{PLAIN}&"]
)
def test_no_part_of_a_query_is_shown(query):
    assert urls.mask_url(f"https://a.example/x?{query}") == "https://a.example/x?***"
    text = f"Max retries exceeded with url: /x?{query} (Caused by …)"
    assert urls.mask_urls(text) == "Max retries exceeded with url: /x?*** (Caused by …)"


# --- what libraries log -------------------------------------------------------------------------


def _fetch(url, folder):
    found = settings.Settings(
        mirrors=(settings.Mirror(url=url),), cache_dir=folder, network=settings.Network(attempts=1)
    )
    return obtain.obtain(found, dataset=DATASET)


def test_libraries_say_nothing_about_our_requests_by_default(tmp_path, caplog):
    with _hostile(PLAIN) as hostile:
        outcome = _fetch(f"{hostile.url}no_header/?sig={PLAIN}", tmp_path)
    assert outcome.error is not None
    assert not [r for r in caplog.records if r.name.startswith("urllib3")]


def test_libraries_log_our_requests_for_debugging_without_secret_and_traceback(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with _hostile(PLAIN) as hostile:
        _fetch(f"{hostile.url}no_header/?sig={PLAIN}", tmp_path)
    theirs = [r for r in caplog.records if r.name.startswith("urllib3")]
    assert any("Failed to parse headers" in r.getMessage() for r in theirs)
    assert all(r.levelno == logging.DEBUG and r.exc_info is None for r in theirs)
    assert PLAIN[:5] not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("verbosity", [0, 1])
def test_warnings_and_log_lines_of_others_reach_the_terminal_masked(verbosity, capsys):
    assert main.run(["config", f"--verbosity={verbosity}"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"https://u:{PLAIN}@a.example/?{PLAIN}: unverified", stacklevel=1)
    try:
        raise ValueError(f"http://a.example/?{PLAIN}")
    except ValueError:
        logging.getLogger("some.library").exception("url: /x?%s", PLAIN)
    err = capsys.readouterr().err
    assert "https://***@a.example/?***" in err
    assert "url: /x?***" in err
    assert ("Traceback" in err) == (verbosity >= 1)
    assert PLAIN[:5] not in err


def test_doctor_survives_a_secret_that_is_the_port_of_a_redirect(site):
    with family.Mirror(BODIES, lambda handler, _, body: family.send(handler, 200, body)) as there:
        port = there.url.rpartition(":")[2].strip("/")

        def away(handler, name, body):
            where = f"http://localhost:{port}/{name}"
            _said(handler, 302, "Found", b"", f"Location: {where}")

        with family.Mirror({}, away) as hostile:
            site.write("bearer", port, hostile.url, there.url)
            codes = _take(site, (WAYS_OUT[5], WAYS_OUT[6]))
    assert codes == [0, 0]
    assert '"***"' in site.said  # where it led to


def test_what_libraries_log_about_others_requests_is_left_as_it_is(caplog):
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("urllib3.connectionpool")
    said = threading.Event()

    def ours():
        with library_logs.hushed(lambda text: "masked"):
            logger.warning("ours")
            said.set()

    thread = threading.Thread(target=ours)
    with library_logs.hushed(lambda text: "other"):
        pass
    thread.start()
    thread.join()
    logger.warning("theirs ?sig=%s", "x")
    assert said.is_set()
    assert [(r.getMessage(), r.levelno) for r in caplog.records] == [
        ("masked", logging.DEBUG),
        ("theirs ?sig=x", logging.WARNING),
    ]


def test_what_fsspec_logs_in_its_own_thread_meanwhile_is_masked(caplog):
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("s3fs.core")

    def log(name):
        thread = threading.Thread(target=logger.warning, args=("key?sig=x",), name=name)
        thread.start()
        thread.join()

    with library_logs.hushed(lambda text: text.replace("x", "***")):
        log("fsspecIO")
        log("of the user")
    log("fsspecIO")
    assert [record.getMessage() for record in caplog.records] == [
        "key?sig=***",
        "key?sig=x",
        "key?sig=x",
    ]


@pytest.mark.parametrize(
    ("user", "shown"),
    [("ghp_16C7e42F292c6912E7710c838347", "***"), ("ann", "ann")],
    ids=["a token", "a name"],
)
@pytest.mark.parametrize("kind", ["auth", "url"])
def test_a_token_in_the_users_place_is_hidden_and_a_name_is_not(tmp_path, user, shown, kind):
    def greet(handler, name, body):
        page = f"<!doctype html><title>Hello {user}, no such file</title>"
        family.send(handler, 200, page.encode())

    with family.Mirror({}, greet) as mirror:
        if kind == "auth":
            found = settings.Mirror(
                mirror.url, auth=settings.Auth("basic", username=user, password=PLAIN)
            )
        else:
            proxy = mirror.url.replace("://", f"://{user}:{PLAIN}@")
            found = settings.Mirror("http://mirror.invalid/", proxy=proxy)
        network = settings.Network(attempts=1)
        error = obtain.obtain(settings.Settings((found,), tmp_path, network), dataset=DATASET).error
    assert f"Hello {shown}, no such file" in str(error)


@pytest.mark.parametrize("name", ["X-Key", "Cookie", "User-Agent"])
def test_a_value_written_into_any_header_is_hidden(tmp_path, name):
    def greet(handler, asked, body):
        page = f"<!doctype html><title>You sent {handler.headers[name]}.</title>"
        family.send(handler, 200, page.encode())

    with family.Mirror({}, greet) as mirror:
        found = settings.Mirror(mirror.url, headers=((name, PLAIN),))
        options = settings.Settings((found,), tmp_path, settings.Network(attempts=1))
        error = str(obtain.obtain(options, dataset=DATASET).error)
    assert "You sent ***" in error
    assert PLAIN[:5] not in error


def test_a_token_that_was_set_as_the_proxy_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", PLAIN)
    found = settings.Mirror("http://mirror.invalid/", proxy="env:SECRET")
    options = settings.Settings((found,), tmp_path, settings.Network(attempts=1))
    error = str(obtain.obtain(options, dataset=DATASET).error)
    assert "the proxy *** has no address" in error
    assert PLAIN[:5].lower() not in error.lower()


def test_the_python_error_and_its_traceback_hold_no_secret(tmp_path):
    auth = settings.Auth(type="bearer", token=PLAIN)
    with _hostile(PLAIN) as hostile:
        mirrors = tuple(
            settings.Mirror(url=f"{hostile.url}{folder}/?sig={PLAIN}", auth=auth)
            for folder in ANSWERS
        )
        network = settings.Network(attempts=1, hedge_after_s=0.05)
        found = settings.Settings(mirrors=mirrors, cache_dir=tmp_path, network=network)
        with pytest.raises(errors.ObtainError) as caught:
            obtain.obtain_files(settings=found, dataset=DATASET)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert PLAIN[:5] not in shown
