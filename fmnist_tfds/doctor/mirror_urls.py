"""Recognises URLs that cannot deliver a file, and says what to write instead. Pure.

Source: the URL schemes of the services' own documentation, named beside each rule.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable

from fmnist_tfds import catalog

# Hosts that answer with a redirect, and where it leads: allow-lists need both.
KNOWN_REDIRECTS = {
    "github.com": ("raw.githubusercontent.com",),
    "huggingface.co": ("cdn-lfs.huggingface.co", "cas-bridge.xethub.hf.co"),
}

# Places that are known not to hold every file, and why: jsDelivr serves no file above 20 MB.
KNOWN_PARTIAL = {"cdn.jsdelivr.net": "serves no file above 20 MB"}

_S3_WEBSITE = re.compile(r"(?P<bucket>.+)\.s3-website[.-](?P<region>[a-z0-9-]+)\.amazonaws\.com")


def problem_of(url: str) -> tuple[str, str]:
    """Why `url` cannot work, and what to write instead; ("", "") if no problem is known.

    Args:
        url: a mirror's base URL or template.
    """
    parts = urllib.parse.urlsplit(url)
    host, path = (parts.hostname or "").lower(), parts.path
    for look in (_website, _code_pages, _share_pages, _other_data):
        if found := look(parts.scheme.lower(), host, path):
            return found
    return "", ""


def other_hosts(url: str, hops: Iterable[str]) -> tuple[str, ...]:
    """The hosts besides that of `url` that the URLs of `hops` name, as URLs without a path."""
    home = urllib.parse.urlsplit(url)
    parts = [urllib.parse.urlsplit(hop) for hop in hops]
    return tuple(dict.fromkeys(f"{p.scheme}://{p.netloc}/" for p in parts if p[:2] != home[:2]))


def _website(scheme: str, host: str, path: str) -> tuple[str, str] | None:
    # docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteEndpoints.html: no HTTPS there.
    website = _S3_WEBSITE.fullmatch(host)
    if website is None or scheme != "https":
        return None
    rest = f"https://{website['bucket']}.s3.{website['region']}.amazonaws.com{path}"
    return "S3 website endpoints have no TLS", f"write {rest}"


def _code_pages(scheme: str, host: str, path: str) -> tuple[str, str] | None:
    if host in ("github.com", "www.github.com") and re.match(r"/[^/]+/[^/]+/(blob|tree)/", path):
        raw = re.sub(r"^(/[^/]+/[^/]+)/(blob|tree)/", r"\1/raw/", path)
        return "a GitHub web page, not a file", f"write https://github.com{raw}"
    if "/-/blob/" in path or "/-/tree/" in path:
        raw = path.replace("/-/blob/", "/-/raw/").replace("/-/tree/", "/-/raw/")
        return "a GitLab web page, not a file", f"write {scheme}://{host}{raw}"
    if host == "huggingface.co" and ("/blob/" in path or "/tree/" in path):
        raw = path.replace("/blob/", "/resolve/").replace("/tree/", "/resolve/")
        return "a Hugging Face web page, not a file", f"write https://huggingface.co{raw}"
    return None


def _share_pages(scheme: str, host: str, path: str) -> tuple[str, str] | None:
    manual = "download the files in a browser and pass their folder as --manual_dir"
    if host in ("drive.google.com", "docs.google.com"):
        return "a Google Drive page: it serves no files by name", manual
    if host in ("www.dropbox.com", "dropbox.com", "1drv.ms", "onedrive.live.com") or (
        host.endswith(".sharepoint.com")
    ):
        return "a share page for browsers: it serves no files by name", manual
    if host in ("www.kaggle.com", "kaggle.com"):
        return "Kaggle wants a login in a browser", f"{manual}, or `fmnist-tfds adopt` its archive"
    if host == "console.cloud.google.com":
        bucket = path.removeprefix("/storage/browser/")
        return "the Google Cloud console", f"write https://storage.googleapis.com/{bucket}"
    return None


def _other_data(scheme: str, host: str, path: str) -> tuple[str, str] | None:
    for impostor in (each for entry in catalog.DATASETS.values() for each in entry.impostors):
        if any(place in f"{host}{path}/" for place in impostor.places):
            other = "use another mirror, or `default`"
            return f"this place serves {impostor.title} under the same file names", other
    return None
