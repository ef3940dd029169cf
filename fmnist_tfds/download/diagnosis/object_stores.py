"""The error documents of object stores: S3, Google, Azure, Alibaba OSS, Baidu BOS. Pure.

Sources stand beside the fixtures in `tests/download/diagnosis/explain_cases.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from fmnist_tfds.download.diagnosis import causes


@dataclasses.dataclass(frozen=True, slots=True)
class StorageError:
    """The error document of an object store.

    Attributes:
        service: whose, for people.
        code: its <Code>, such as "NoSuchKey".
        cause: the cause it stands for.
    """

    service: str
    code: str
    cause: causes.CauseName


_CODE = re.compile(r"<code>\s*([a-z][a-z0-9_.]*)\s*</code>", re.IGNORECASE)
_JSON_CODE = re.compile(r"\"code\"\s*:\s*\"([a-z]+)\"", re.IGNORECASE)
# Which store: first by a header only it sends, then by words of its documents.
_STORE_HEADERS = (
    ("x-oss-request-id", "Alibaba OSS"),
    ("x-bce-request-id", "Baidu BOS"),
    ("x-ms-request-id", "Azure Blob Storage"),
    ("x-ms-error-code", "Azure Blob Storage"),
    ("x-guploader-uploadid", "Google Cloud Storage"),
    ("x-goog-hash", "Google Cloud Storage"),
    ("x-amz-request-id", "Amazon S3"),
)
_STORE_WORDS = (
    ("aliyuncs.com", "Alibaba OSS"),
    ("bcebos.com", "Baidu BOS"),
    ("blob.core.windows.net", "Azure Blob Storage"),
    ("storage.objects.get", "Google Cloud Storage"),
    ("no such object:", "Google Cloud Storage"),
    ("<requestid>", "Amazon S3"),
)
_STORE_CODES: Mapping[str, causes.CauseName] = {
    # A store that lets only its owner list a bucket answers 403 for a missing key too.
    "accessdenied": "object-missing-or-private",
    "allaccessdisabled": "object-missing-or-private",
    "publicaccessnotpermitted": "object-missing-or-private",
    "resourcenotfound": "object-missing-or-private",
    "nosuchkey": "not-found",
    "nosuchbucket": "not-found",
    "blobnotfound": "not-found",
    "containernotfound": "not-found",
    "slowdown": "rate-limited",
    "serverbusy": "rate-limited",
    "requestlimitexceeded": "rate-limited",
    "internalerror": "server-error",
    "serviceunavailable": "server-error",
    "authenticationfailed": "auth-required",
    "noauthenticationinformation": "auth-required",
    "authenticationrequired": "auth-required",
    "userdisable": "forbidden",
    "permanentredirect": "not-found",
}


def recognise(headers: Mapping[str, str], body: str, host: str = "") -> StorageError | None:
    """The object store's error that a document states, or None if it is no such document.

    Args:
        headers: header values by lower-case name.
        body: the start of the body, decoded.
        host: the host that was asked; used where the document names no store.
    """
    lower = body.lower()
    found = _CODE.search(body) if "<error" in lower else None
    is_bos = "x-bce-request-id" in headers or host.endswith("bcebos.com")
    code = found or (_JSON_CODE.search(body) if is_bos else None)
    if code is None:
        return None
    service = next(
        (name for header, name in _STORE_HEADERS if header in headers),
        next(
            (name for word, name in _STORE_WORDS if word in lower or word in host), "object store"
        ),
    )
    cause = _STORE_CODES.get(code.group(1).lower(), "object-missing-or-private")
    return StorageError(service, code.group(1), cause)
