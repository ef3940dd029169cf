"""Who signed a certificate, whether that must be a public authority, and files that hold some.

Source: X.690 (DER), RFC 5280 section 4.1 (the fields of a certificate).
"""

from __future__ import annotations

import ipaddress
import pathlib
from collections.abc import Iterator

_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0
_OBJECT_IDENTIFIER = 0x06
_BMP_STRING = 0x1E
_COMMON_NAME = bytes((0x55, 0x04, 0x03))
_ORGANISATION = bytes((0x55, 0x04, 0x0A))
_DER = b"\x30\x82"  # a sequence of some length
# What else people are sent, and how a PEM file is made of it.
_OTHER_FILES = (
    (b"-----BEGIN PKCS7-----", "a PKCS #7 bundle", ": openssl pkcs7 -print_certs -in F -out F.pem"),
    (b"PRIVATE KEY-----", "a private key", ""),
    (b"-----BEGIN CERTIFICATE REQUEST-----", "a certificate request", ""),
    (b"-----BEGIN PUBLIC KEY-----", "a public key", ""),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        "a PKCS #7 bundle (DER)",
        ": openssl pkcs7 -inform DER -print_certs -in F -out F.pem",
    ),
    (_DER, "DER", ": openssl x509 -inform DER -in F -out F.pem"),
)
_PRIVATE_SUFFIXES = (
    ".corp",
    ".home.arpa",
    ".internal",
    ".intranet",
    ".lan",
    ".local",
    ".localhost",
)


def is_public(host: str) -> bool:
    """True if a name stands in the public DNS, where only public authorities sign certificates;
    False for addresses, single labels and names of private networks."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        return "." in name and not name.endswith(_PRIVATE_SUFFIXES)


def issuer_of(der: bytes) -> str:
    """Organisation and common name of a DER certificate's issuer.

    Raises:
        ValueError: not a certificate.
    """
    certificate = _only(der)
    fields = list(_items(_only(certificate)))
    if fields and fields[0][0] == _EXPLICIT_VERSION:
        fields = fields[1:]
    if len(fields) < 3:  # serial number, signature algorithm, issuer
        raise ValueError("not a certificate")
    names = dict(_attributes(fields[2][1]))
    found = [names[key] for key in (_ORGANISATION, _COMMON_NAME) if key in names]
    return ", ".join(dict.fromkeys(found))


def _attributes(name: bytes) -> Iterator[tuple[bytes, str]]:
    for _, relative in _items(name):
        for _, pair in _items(relative):
            (kind, oid), (text_kind, text), *_ = [*_items(pair), (0, b""), (0, b"")]
            if kind == _OBJECT_IDENTIFIER:
                encoding = "utf-16-be" if text_kind == _BMP_STRING else "utf-8"
                yield oid, text.decode(encoding, errors="replace")


def _only(der: bytes) -> bytes:
    kind, content = next(_items(der), (0, b""))
    if kind != _SEQUENCE:
        raise ValueError("not a DER sequence")
    return content


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs that stand one after another."""
    position = 0
    while position + 2 <= len(der):
        kind, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[position : position + size], "big")
            position += size
        if position + length > len(der):
            raise ValueError("DER ends early")
        yield kind, der[position : position + length]
        position += length


def file_problem(path: pathlib.Path) -> str:
    """Why a file or folder of authorities cannot be used, or ""."""
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "" if any(path.iterdir()) else "the folder is empty"
    try:
        text = path.read_bytes()
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if b"-----BEGIN CERTIFICATE-----" in text or b"-----BEGIN TRUSTED CERTIFICATE-----" in text:
        return ""
    for mark, what, command in _OTHER_FILES:
        if text.startswith(mark) if mark == _DER else mark in text:
            return f"it holds {what}, no PEM certificate{command}"
    return "it holds no PEM certificate"
