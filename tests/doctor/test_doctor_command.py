"""`fmnist-tfds doctor` as people and programs meet it: table, JSON, page, request, exit code."""

from __future__ import annotations

import html
import html.parser
import io
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import zipfile

import pytest
from rich import console as rich_console

from fmnist_tfds import catalog
from fmnist_tfds.cli import doctor as cli_doctor
from fmnist_tfds.cli import main
from fmnist_tfds.config import settings
from fmnist_tfds.doctor import findings, summary
from fmnist_tfds.doctor import page as report_html
from fmnist_tfds.doctor import report as doctor

DATASET = catalog.FASHION_MNIST


@pytest.fixture
def broken(closed_port):
    """A report of three sources: refused, without an address, a folder that is not there."""
    mirrors = (
        f"http://127.0.0.1:{closed_port}/<script>alert(1)</script>/",
        "https://a-mirror-with-a-rather-long-name.example.org/some/folder/",
        "file:///no/such/folder/",
    )
    found = settings.Settings(
        mirrors=tuple(settings.Mirror(url=url) for url in mirrors),
        cache_dir=pathlib.Path("/no/such/cache"),
    )
    long = "https://a-mirror-with-a-rather-long-name.example.org/some/folder/"
    contradiction = findings.Finding("REQUESTS_CA_BUNDLE", f"{long}: swallowed", f"write {long}")
    return doctor.examine(found, (contradiction,), sleep=lambda _: None)


FACTS = {
    "evidence": "403 from p.corp:3128 (squid: ERR_ACCESS_DENIED)",
    "remedy": "ask for this host to be allowed",
    "address_problem": "a web page, not a file",
    "issuer": "Corp CA",
    "proxy": "p.corp:3128",
    "proxy_answered": "1.1 house-proxy",
    "proxy_origin": "HTTPS_PROXY",
}


def _report(*sources):
    return findings.Report(False, "no way", (), sources, (), (), "", None, 1.0, "x", "now")


def _source(host, **more):
    stages = tuple(findings.Stage(name, "not reached") for name in findings.STAGES)
    found = {"url": f"https://{host}/", "host": host, "stages": stages, "cause": "proxy-denied"}
    return findings.Source(**{**found, "owner": "proxy", **FACTS, **more})


@pytest.mark.parametrize("form", ["table", "page"])
def test_all_that_is_known_of_a_source_is_shown(form):
    served, hop, note = "labels.gz", "https://cdn.example/", "no ranges"
    more = {"probes": 3, "clock_skew_s": -90.0}
    source = _source("a.example", serves=(served,), hops=(hop,), notes=(note,), **more)
    report = _report(source)
    shown = html.unescape(report_html.page(report)) if form == "page" else _printed(report, 120)
    for fact in (*FACTS.values(), source.cause, findings.OWNERS["proxy"], served, hop, note):
        assert fact in shown, fact
    assert ("-90 s" if form == "page" else "tried: 3 times") in shown
    works = _source("a.example", cause="", owner="passing disturbance", remedy="", evidence="",
                    probes=2, disturbances=("reset",))  # fmt: skip
    shown = _printed(_report(works), 120)
    assert "tried: 2 times; failed before it worked: reset" in shown
    assert "cause:" not in shown


def test_sources_are_shown_together_only_where_all_of_the_trouble_is_the_same():
    alike = [_source("a.example", evidence="seen at a"), _source("b.example", evidence="seen at b")]
    shown = _printed(_report(*alike), 120)
    assert shown.count("do: ") == 1
    assert "seen at a" in shown
    assert "seen at b" in shown
    for other in (
        {"proxy": "q.corp:1"},
        {"remedy": "ask somebody else"},
        {"issuer": "Other CA"},
        {"notes": ("re-compressed",)},
    ):
        shown = _printed(_report(alike[0], _source("b.example", **other)), 120)
        assert shown.count("do: ") == 2, other


def _printed(report, width, **options):
    text = io.StringIO()
    console = rich_console.Console(file=text, width=width, highlight=False, **options)
    cli_doctor.print_report(report, console)
    return text.getvalue()


def test_doctor_command_finds_the_real_files_and_exits_0(real_mirror, capsys):
    assert main.run(["doctor", f"--mirrors={real_mirror.url}"]) == 0
    out = capsys.readouterr().out
    assert "Fashion-MNIST is available, from 1 of 1 source" in out
    head = next(line for line in out.splitlines() if line.lstrip().startswith("source"))
    assert head.split()[-7:] == list(findings.STAGES)


def test_doctor_command_exits_3_where_there_is_no_way(loopback, tmp_path, capsys):
    empty = loopback(tmp_path)
    assert main.run(["doctor", f"--mirrors={empty.url}", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    (source,) = document["sources"]
    assert document["ok"] is False
    assert source["cause"] == "not-found"
    assert source["evidence"]
    assert source["remedy"]
    assert source["stages"]["tcp"]["outcome"] == "ok"
    assert source["stages"]["http"]["outcome"] == "failed"


def test_doctor_command_prints_the_request_to_send(real_mirror, capsys):
    assert main.run(["doctor", f"--mirrors={real_mirror.url},default", "--allowlist"]) == 0
    out = capsys.readouterr().out
    for file in DATASET.files:
        assert f"{file.name}  {file.size_bytes:,} bytes" in out
        assert file.sha256 in out
    port = re.search(r":(\d+)/", real_mirror.url).group(1)
    needed = out.partition("Seen from here")[0]
    assert f"127.0.0.1  TCP {port} HTTP" in needed
    assert "fashion-mnist.s3.eu-central-1.amazonaws.com" not in needed
    assert "raw.githubusercontent.com" in out
    assert "30,878,645 bytes" in out
    assert max(map(len, out.splitlines())) <= 90


def test_doctor_request_asks_for_one_tls_host_where_nothing_is_known():
    found = settings.Settings(
        mirrors=tuple(settings.Mirror(url=url) for url in reversed(DATASET.mirrors)),
        cache_dir=pathlib.Path("/no/such/cache"),
        offline=True,
    )
    needed = doctor.examine(found).allowlist.partition("Seen from here")[0]
    assert needed.count(" TCP ") == 1
    assert "TCP 443 HTTPS" in needed
    assert "jsdelivr" not in needed


def test_doctor_finds_manual_dir_in_any_form_that_fetch_takes(real_data, tmp_path, capsys):
    carried = tmp_path / "copy.zip"
    with zipfile.ZipFile(carried, "w") as archive:
        for file in DATASET.files:
            archive.write(real_data / file.name, f"folder/{file.name}")
    assert main.run(["doctor", "--mirrors=off", f"--manual_dir={carried}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["cause"] == ""


def test_doctor_says_what_is_wrong_with_a_manual_dir_in_another_form(tmp_path, capsys):
    table = tmp_path / "data.csv"
    table.write_text("label,pixel1\n1,2\n")
    assert main.run(["doctor", "--mirrors=off", f"--manual_dir={table}", "--json"]) == 3
    evidence = json.loads(capsys.readouterr().out)["sources"][0]["evidence"]
    assert "expected 785 columns" in evidence


def test_doctor_looks_at_other_tools_caches_where_fetch_would(
    real_data, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.parent.mkdir()
    folder.symlink_to(real_data)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main.run(["doctor", "--mirrors=off"]) == 3
    assert "nothing in the cache" in capsys.readouterr().out
    assert main.run(["doctor", "--mirrors=off", "--adopt_local"]) == 0
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize("place", ["missing/report.html", "."])
def test_doctor_command_refuses_an_unwritable_page_before_it_looks(
    place, real_mirror, tmp_path, capsys
):
    path = tmp_path / place
    assert main.run(["doctor", f"--mirrors={real_mirror.url}", f"--html={path}"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert real_mirror.requests == []


def test_doctor_command_prints_the_request_with_code_0_just_where_there_is_no_way(capsys):
    flags = ["--mirrors=https://mirror.example.org/", "--offline"]
    assert main.run(["doctor", *flags]) == 3
    capsys.readouterr()
    assert main.run(["doctor", *flags, "--allowlist"]) == 0
    assert "mirror.example.org  TCP 443 HTTPS" in capsys.readouterr().out


def test_doctor_command_says_which_settings_contradict_each_other(capsys, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://a.corp:1")
    monkeypatch.setenv("HTTP_PROXY", "http://b.corp:2")
    assert main.run(["doctor", "--mirrors=off"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "http_proxy=http://a.corp:1 and HTTP_PROXY=http://b.corp:2 differ" in out
    assert "unset HTTP_PROXY, or give both the same value" in out


def test_doctor_command_writes_the_page(real_mirror, tmp_path):
    path = tmp_path / "report.html"
    assert main.run(["doctor", f"--mirrors={real_mirror.url}", f"--html={path}"]) == 0
    assert "<strong>Yes." in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 72, 80, 120])
def test_doctor_table_fits_the_terminal(width, broken):
    before_remedies = _printed(broken, width).partition("\n# ")[0]
    for line in before_remedies.splitlines():
        # What is to be pasted (a URL) stays in one piece: the terminal breaks it.
        assert len(line) <= width or len(line.split()[-1]) > width - 16, line


@pytest.mark.parametrize("width", [72, 80, 120])
def test_doctor_table_shows_the_whole_of_every_source_within_the_terminal(width, broken):
    table = _printed(broken, width).partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= width
    assert table[0].split() == ["source", "(ms)", *findings.STAGES]
    cells = "".join(line[: table[0].index(" dns")].strip() for line in table)
    for source in broken.sources:
        assert summary.title_of(source) in cells
    assert sum(" FAIL" in line for line in table) == len(broken.sources)


@pytest.mark.parametrize("width", [40, 80])
def test_doctor_table_is_plain_text_away_from_a_terminal(width, broken):
    assert "\x1b" not in _printed(broken, width)


def test_doctor_table_is_coloured_on_a_terminal_unless_no_color(broken):
    terminal = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[1;31m" in _printed(broken, 80, **terminal)
    assert "\x1b[1;31m" not in _printed(broken, 80, no_color=True, **terminal)


class _Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_doctor_page_needs_nothing_from_outside_and_no_script(broken):
    text = report_html.page(broken)
    page = _Page(text)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not [a for _, attributes in page.tags for a in attributes if a in ("src", "href")]
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "&lt;script&gt;" in text


def test_doctor_page_can_be_read_by_a_screen_reader(broken):
    page = _Page(report_html.page(broken))
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    assert {"main", "title", "caption", "thead"} <= set(tags)


def _luminance(colour):
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_doctor_page_has_enough_contrast_in_light_dark_and_print(broken):
    palettes = re.findall(r":root \{([^}]*)\}", report_html.page(broken))
    assert len(palettes) == 3
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", palette))
        for paper in ("paper", "panel"):
            for ink in ("ink", "soft", "good", "bad"):
                light, dark = sorted(map(_luminance, (colours[ink], colours[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper, palette)


def _browse(tmp_path, text, *switches):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    page = tmp_path / "report.html"
    page.write_text(text, encoding="utf-8")
    always = (
        # A small /dev/shm, and a GPU process that is slow to answer, end chromium otherwise.
        "headless no-sandbox disable-gpu disable-dev-shm-usage disable-gpu-watchdog disable-quic "
        "no-first-run disable-background-networking disable-component-update disable-sync "
        "hide-scrollbars"
    )
    return subprocess.run(
        [
            browser,
            *(f"--{switch}" for switch in (*always.split(), *switches)),
            f"--user-data-dir={tmp_path / 'profile'}",
            page.as_uri(),
        ],
        check=True,
        timeout=600,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.network_parts
def test_doctor_page_is_no_wider_than_a_phone(broken, tmp_path):
    # A browser's window is at least 500 wide, a frame is not; the page's policy forbids scripts.
    page = re.sub(r"<meta http-equiv[^>]*>", "", report_html.page(broken))
    measure = (
        "onload = () => { const root = document.querySelector('iframe').contentDocument"
        ".documentElement; document.title = root.scrollWidth - root.clientWidth }"
    )
    frame = f'<iframe style="width: 360px" srcdoc="{html.escape(page)}"></iframe>'
    drawn = _browse(tmp_path, f"<title></title>{frame}<script>{measure}</script>", "dump-dom")
    assert "<title>0</title>" in drawn


@pytest.mark.network_parts
@pytest.mark.parametrize("size", [(1000, 1400), (500, 1400)])
def test_doctor_page_is_drawn_by_a_real_browser(size, broken, tmp_path):
    picture = tmp_path / "picture.png"
    window = f"window-size={size[0]},{size[1]}"
    _browse(tmp_path, report_html.page(broken), window, f"screenshot={picture}")
    drawn = picture.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert int.from_bytes(drawn[16:20], "big") == size[0]
    assert len(set(_rows(drawn))) > 100


def _rows(data):
    """The decompressed scanlines of a PNG, filters and all: enough to see that it is not blank."""
    import zlib

    body, position = b"", 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            body += data[position + 8 : position + 8 + length]
        position += 12 + length
    raw = zlib.decompress(body)
    height = int.from_bytes(data[20:24], "big")
    stride = len(raw) // height
    return [raw[i * stride : (i + 1) * stride] for i in range(height)]


def test_doctor_request_says_where_when_and_leaves_room_for_whom():
    found = settings.Settings(
        mirrors=(settings.Mirror(url="https://mirror.example/"),),
        cache_dir=pathlib.Path("/no/such/cache"),
        offline=True,
    )
    letter = doctor.examine(found).allowlist
    assert re.search(r"^Seen from here \(\S+, \d{4}-\d\d-\d\dT[\d:+]+\):$", letter, re.MULTILINE)
    assert "Please reply to: (your name" in letter


def test_page_says_a_cause_that_several_sources_share_once(closed_port):
    found = settings.Settings(
        mirrors=tuple(
            settings.Mirror(url=f"http://127.0.0.1:{closed_port}/{i}/") for i in range(3)
        ),
        cache_dir=pathlib.Path("/no/such/cache"),
    )
    report = doctor.examine(found, sleep=lambda _: None)
    text = report_html.page(report)
    remedy = next(source.remedy for source in report.sources if source.cause)
    assert text.count(f"<dt>remedy</dt><dd>{html.escape(remedy, quote=False)}</dd>") == 1
    assert "connect-refused: 3 sources" in text
    assert all(f"http://127.0.0.1:{closed_port}/{i}/" in text for i in range(3))
