"""The scripts of the byte-level faults: situation name -> what the server does."""

from __future__ import annotations

import email.utils
import functools
import gzip
import itertools
import time

import scripted
from scripted import Reply, Request

SCRIPTS: dict[str, scripted.Script] = {}


def _script(function: scripted.Script) -> scripted.Script:
    SCRIPTS[function.__name__.replace("_", "-")] = function
    return function


def _page(title: str, body: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>{title}</title></head>{body}</html>".encode()


# --- good in odd ways ---------------------------------------------------------------------------


@_script
def ok(request: Request, reply: Reply) -> None:
    reply.file(request)


@_script
def slow_start(request: Request, reply: Reply) -> None:
    if not reply.server.closing.wait(2.0):
        reply.file(request)


@_script
def slow_but_steady(request: Request, reply: Reply) -> None:
    """Sixty kilobytes a second: slow, thirty times the minimum, never silent."""
    reply.head("200 OK", {"Content-Length": len(reply.body)})
    pieces = (reply.body[i : i + 3000] for i in range(0, len(reply.body), 3000))
    reply.slowly(pieces, 0.05)


@_script
def no_length(request: Request, reply: Reply) -> None:
    reply.head("200 OK")
    reply.raw(reply.body)


@_script
def http_1_0(request: Request, reply: Reply) -> None:
    reply.raw(b"HTTP/1.0 200 OK\r\n\r\n" + reply.body)


@_script
def chunked(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Transfer-Encoding": "chunked"})
    for start in range(0, len(reply.body), 4000):
        piece = reply.body[start : start + 4000]
        reply.raw(b"%x\r\n%s\r\n" % (len(piece), piece))
    reply.raw(b"0\r\n\r\n")


@_script
def length_too_large(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": len(reply.body) + 1000})
    reply.raw(reply.body)


@_script
def encoding_header_on_gz(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", reply.body, {"Content-Encoding": "gzip"})


@_script
def gzip_twice(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", gzip.compress(reply.body), {"Content-Encoding": "gzip"})


@_script
def recompressed(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", gzip.compress(gzip.decompress(reply.body), 1))


@_script
def decompressed(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", gzip.decompress(reply.body))


@_script
def trailing_bytes(request: Request, reply: Reply) -> None:
    reply.head("200 OK")
    reply.raw(reply.body + b"\r\n<!-- served by a helpful proxy -->")


# --- cut, and how it goes on --------------------------------------------------------------------


@_script
def reset_at_once(request: Request, reply: Reply) -> None:
    reply.reset()


@_script
def reset_after_one_byte(request: Request, reply: Reply) -> None:
    reply.file(request, cut=1, ranges=False)


@_script
def reset_once_then_range(request: Request, reply: Reply) -> None:
    reply.file(request, cut=len(reply.body) // 2 if request.number == 1 else None)


@_script
def reset_every_eighth(request: Request, reply: Reply) -> None:
    reply.file(request, cut=len(reply.body) // 8 + 1)


@_script
def reset_without_ranges(request: Request, reply: Reply) -> None:
    reply.file(request, cut=len(reply.body) // 2, ranges=False)


@_script
def cut_with_length(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": len(reply.body)})
    reply.raw(reply.body[: len(reply.body) // 2])


@_script
def cut_without_length(request: Request, reply: Reply) -> None:
    reply.head("200 OK")
    reply.raw(reply.body[: len(reply.body) // 2])


@_script
def length_of_a_part(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", reply.body[: len(reply.body) // 2])


@_script
def chunked_cut(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Transfer-Encoding": "chunked"})
    reply.raw(b"%x\r\n%s" % (len(reply.body), reply.body[: len(reply.body) // 2]))


@_script
def chunked_garbage(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Transfer-Encoding": "chunked"})
    reply.raw(b"zz\r\nnot a chunk\r\n")


@_script
def range_ignored(request: Request, reply: Reply) -> None:
    cut = len(reply.body) // 2 if request.number == 1 else None
    reply.file(request, cut=cut, ranges=False)


@_script
def range_refused(request: Request, reply: Reply) -> None:
    if request.offset:
        size = {"Content-Range": f"bytes */{len(reply.body)}"}
        reply.whole("416 Range Not Satisfiable", b"", size)
    else:
        reply.file(request, cut=len(reply.body) // 2 if request.number == 1 else None)


@_script
def range_shifted(request: Request, reply: Reply) -> None:
    if not request.offset:
        reply.file(request, cut=len(reply.body) // 2 if request.number == 1 else None)
        return
    start = max(0, request.offset - 7)
    body = reply.body[start:]
    span = f"bytes {start}-{len(reply.body) - 1}/{len(reply.body)}"
    reply.whole("206 Partial Content", body, {"Content-Range": span})


@_script
def range_without_content_range(request: Request, reply: Reply) -> None:
    if not request.offset:
        reply.file(request, cut=len(reply.body) // 2 if request.number == 1 else None)
        return
    reply.whole("206 Partial Content", reply.body[: len(reply.body) // 3])


@_script
def half_then_gone(request: Request, reply: Reply) -> None:
    if request.number > 1:
        reply.whole("404 Not Found")
    else:
        reply.file(request, cut=len(reply.body) // 2)


# --- walls --------------------------------------------------------------------------------------


@_script
def cookie_wall(request: Request, reply: Reply) -> None:
    """Redirects to itself until the cookie that it sets comes back."""
    if "seen=1" in request.headers.get("cookie", ""):
        reply.file(request)
    else:
        headers = {"Location": request.target, "Set-Cookie": "seen=1; Path=/"}
        reply.whole("302 Found", b"", headers)


@_script
def blocks_libraries(request: Request, reply: Reply) -> None:
    agent = request.headers.get("user-agent", "").lower()
    if any(name in agent for name in ("python-requests", "urllib", "curl", "wget")):
        reply.whole("403 Forbidden")
    else:
        reply.file(request)


@_script
def browsers_only(request: Request, reply: Reply) -> None:
    if request.headers.get("user-agent", "").startswith("Mozilla/"):
        reply.file(request)
    else:
        reply.whole("403 Forbidden")


# --- slow, silent, endless ----------------------------------------------------------------------


@_script
def never_answers(request: Request, reply: Reply) -> None:
    reply.silence()


@_script
def head_then_silence(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": len(reply.body)})
    reply.silence()


@_script
def half_then_silence(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": len(reply.body)})
    reply.raw(reply.body[: len(reply.body) // 2])
    reply.silence()


@_script
def trickle(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": len(reply.body)})
    reply.slowly((reply.body[i : i + 1] for i in range(len(reply.body))), 0.1)


@_script
def trickled_head(request: Request, reply: Reply) -> None:
    reply.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    reply.slowly((b"a" for _ in itertools.count()), 0.1)


@_script
def endless_body(request: Request, reply: Reply) -> None:
    reply.head("200 OK")
    while True:
        reply.raw(reply.body + bytes(65536))


@_script
def endless_garbage(request: Request, reply: Reply) -> None:
    reply.head("200 OK")
    while True:
        reply.raw(b"garbage!" * 8192)


@_script
def endless_headers(request: Request, reply: Reply) -> None:
    reply.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        reply.raw(b"X-More: yes\r\n" * 100)


@_script
def huge_length(request: Request, reply: Reply) -> None:
    reply.head("200 OK", {"Content-Length": 10**13})
    reply.raw(bytes(65536))
    reply.silence()


@functools.cache
def _bomb() -> bytes:
    """64 MiB of zeros in 64 KiB."""
    return gzip.compress(bytes(1 << 26), 9)


@_script
def gzip_bomb(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", _bomb())


@_script
def not_http(request: Request, reply: Reply) -> None:
    reply.raw(b"220 smtp.example ESMTP ready\r\n")


@_script
def hangs_up(request: Request, reply: Reply) -> None:
    reply.connection.close()


# --- refusals -----------------------------------------------------------------------------------


def _status(name: str, status: str, body: bytes = b"", **headers: str) -> None:
    def answer(request: Request, reply: Reply) -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        reply.whole(status, body, named)

    SCRIPTS[name] = answer


_status("401", "401 Unauthorized", WWW_Authenticate='Basic realm="x"')
_status("403", "403 Forbidden", b"no")
_status("404", "404 Not Found", b"no")
_status("410", "410 Gone")
_status("451", "451 Unavailable For Legal Reasons")
_status("500", "500 Internal Server Error")
_status("502", "502 Bad Gateway")
_status("503", "503 Service Unavailable")
_status("204", "204 No Content")
_status("429-for-an-hour", "429 Too Many Requests", Retry_After="3600")
_status(
    "s3-denied",
    "403 Forbidden",
    b"<Error><Code>AccessDenied</Code></Error>",
    x_amz_request_id="4442587FB7D0A2F9",
)
_status(
    "gcs-denied",
    "403 Forbidden",
    b"<Error><Code>AccessDenied</Code></Error>",
    X_GUploader_UploadID="ABPtcPq",
)
_status(
    "oss-missing",
    "404 Not Found",
    b"<Error><Code>NoSuchKey</Code></Error>",
    x_oss_request_id="636B",
)
_status(
    "azure-private",
    "409 Conflict",
    b"<Error><Code>PublicAccessNotPermitted</Code></Error>",
    x_ms_request_id="1",
)
_status("hugging-face-gated", "401 Unauthorized", b"restricted", X_Error_Code="GatedRepo")
_status("github-429", "429 Too Many Requests", _page("Rate limit &middot; GitHub"))
_status(
    "cloudflare-challenge",
    "403 Forbidden",
    _page("Just a moment..."),
    Server="cloudflare",
    cf_mitigated="challenge",
)
_status("cloudflare-1010", "403 Forbidden", b"error code: 1010", Server="cloudflare")
_status("cloudflare-1009", "403 Forbidden", b"error code: 1009", Server="cloudflare")
_status(
    "akamai",
    "403 Forbidden",
    _page("Access Denied", "https://errors.edgesuite.net/18.1"),
    Server="AkamaiGHost",
)
_status("zscaler", "403 Forbidden", _page("Internet Security by Zscaler"))
_status(
    "fortigate", "403 Forbidden", _page("Web Filter Violation", "FortiGuard Intrusion Prevention")
)
_status("blue-coat-200", "200 OK", _page("Access Denied", "Access Denied (policy_denied)"))
_status("portal-511", "511 Network Authentication Required", _page("Log in"))
_status("portal-200", "200 OK", _page("Welcome", "<!-- WISPAccessGatewayParam --><form></form>"))
_status("other-page", "200 OK", _page("data/fashion at master"), Content_Type="text/html")
_status("login-page", "200 OK", _page("Hotel", "<form><input type='password'></form>"))
_status(
    "cloud-error-200", "200 OK", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
)
_status(
    "lfs-pointer", "200 OK", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
)
_status("empty", "200 OK")


@_script
def limited_then_ok(request: Request, reply: Reply) -> None:
    if request.number == 1:
        reply.whole("429 Too Many Requests", b"", {"Retry-After": "1"})
    else:
        reply.file(request)


@_script
def limited_until_date(request: Request, reply: Reply) -> None:
    if request.number == 1:
        date = email.utils.formatdate(time.time() + 2, usegmt=True)
        reply.whole("429 Too Many Requests", b"", {"Retry-After": date})
    else:
        reply.file(request)


@_script
def unavailable_then_ok(request: Request, reply: Reply) -> None:
    if request.number == 1:
        reply.whole("503 Service Unavailable")
    else:
        reply.file(request)


@_script
def size_limited(request: Request, reply: Reply) -> None:
    """As jsDelivr: three files of four."""
    if request.name.startswith("train-images"):
        reply.whole("403 Forbidden", b"Package size exceeded the configured limit of 50 MB.")
    else:
        reply.file(request)


# --- redirects ----------------------------------------------------------------------------------


@_script
def redirect_ok(request: Request, reply: Reply) -> None:
    reply.whole("302 Found", b"", {"Location": f"/ok/{request.name}"})


@_script
def redirect_chain(request: Request, reply: Reply) -> None:
    step, _, name = request.name.rpartition("/")
    count = int(step or 0)
    target = f"/ok/{name}" if count == 3 else f"/redirect-chain/{count + 1}/{name}"
    reply.whole("301 Moved Permanently", b"", {"Location": target})


@_script
def redirect_loop(request: Request, reply: Reply) -> None:
    reply.whole("302 Found", b"", {"Location": f"/redirect-loop/{request.name}"})


@_script
def redirect_to_file(request: Request, reply: Reply) -> None:
    reply.whole("302 Found", b"", {"Location": "file:///etc/hostname"})


@_script
def redirect_to_ftp(request: Request, reply: Reply) -> None:
    reply.whole("302 Found", b"", {"Location": f"ftp://127.0.0.1/{request.name}"})


@_script
def redirect_without_location(request: Request, reply: Reply) -> None:
    reply.whole("302 Found")


@_script
def portal_302(request: Request, reply: Reply) -> None:
    # localhost stands for the portal: another host than 127.0.0.1.
    target = f"http://localhost:{reply.server.port}/login-page/"
    reply.whole("302 Found", b"", {"Location": target})


# --- wrong bytes --------------------------------------------------------------------------------


@_script
def one_bit_flipped(request: Request, reply: Reply) -> None:
    middle = len(reply.body) // 2
    flipped = bytes([reply.body[middle] ^ 1])
    reply.whole("200 OK", reply.body[:middle] + flipped + reply.body[middle + 1 :])


@_script
def garbage_of_the_right_size(request: Request, reply: Reply) -> None:
    reply.whole("200 OK", (b"garbage!" * (len(reply.body) // 8 + 1))[: len(reply.body)])


@_script
def wrong_file(request: Request, reply: Reply) -> None:
    other = {"train": "t10k", "t10k-": "train"}[request.name[:5]]
    name = other + request.name[request.name.index("-") :]
    reply.whole("200 OK", reply.server.files[name])


@_script
def impostor(request: Request, reply: Reply) -> None:
    """Another data set under these names; its digests stand in the laboratory's catalog."""
    reply.whole("200 OK", reply.server.files["impostor/" + request.name])
