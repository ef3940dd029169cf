"""Why TLS failed, in words, and what to do: one row per reason. Pure.

Source: openssl/x509_vfy.h (the codes of a certificate's verification), ssl.SSLError.reason.
"""

from __future__ import annotations

_CLOCK = "check this machine's clock; if it is right, the server's owner must renew it"
_AUTHORITY = "give its authority's PEM file: ca_bundle in the TOML file, or REQUESTS_CA_BUNDLE"
_NAME = "use the host name that stands in the certificate, or another mirror"
_OWNER = (
    "the server's owner must fix this; until then use another mirror, or insecure_tls for this one "
    "(every byte is still checked against the pinned hashes)"
)

# Verification code -> what is wrong with the certificate, and the remedy.
_CERTIFICATE = {
    7: ("has a signature that is not its authority's", _AUTHORITY),
    9: ("is not valid yet", _CLOCK),
    10: ("has expired", _CLOCK),
    18: ("is self-signed", _AUTHORITY),
    19: ("comes from an authority that is not trusted here", _AUTHORITY),
    20: ("comes from an authority that is not trusted here", _AUTHORITY),
    21: ("comes from an authority that is not trusted here", _AUTHORITY),
    22: ("has too long a chain of authorities", _OWNER),
    23: ("was revoked", _OWNER),
    24: ("was signed by a certificate that is no authority's", _OWNER),
    25: ("was signed by an authority that may not sign at that depth", _OWNER),
    26: ("is not meant for servers", _OWNER),
    62: ("is for another host name", _NAME),
    64: ("is for another address", _NAME),
    66: ("has a key that is too short to be trusted", _OWNER),
    67: ("was signed by an authority whose key is too short to be trusted", _OWNER),
    68: ("is signed with a hash that is no longer trusted (SHA-1 or MD5)", _OWNER),
}

# ssl.SSLError.reason -> what is wrong, and the remedy.
_HANDSHAKE = {
    "WRONG_VERSION_NUMBER": ("what answers there speaks no TLS", "check scheme and port"),
    "HTTP_REQUEST": ("what answers there speaks no TLS", "check scheme and port"),
    "PACKET_LENGTH_TOO_LONG": ("what answers there speaks no TLS", "check scheme and port"),
    "UNSUPPORTED_PROTOCOL": ("the server speaks TLS 1.1 or older alone", _OWNER),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("the server refuses the TLS of today", _OWNER),
    "NO_PROTOCOLS_AVAILABLE": ("this machine's OpenSSL allows no TLS at all", "see openssl.cnf"),
    "DH_KEY_TOO_SMALL": ("the server's key exchange is too weak", _OWNER),
    "CA_MD_TOO_WEAK": ("a certificate is signed with SHA-1 or MD5", _OWNER),
    "EE_KEY_TOO_SMALL": ("a certificate's key is too short", _OWNER),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": ("the server found no cipher in common", _OWNER),
    "TLSV1_UNRECOGNIZED_NAME": ("the server knows no such host name", _NAME),
    "TLSV1_ALERT_INTERNAL_ERROR": ("the server failed", "try again later, or another mirror"),
}
UNKNOWN_AUTHORITY = (18, 19, 20, 21)


def of_certificate(code: int) -> tuple[str, str]:
    """What a verification code says of the certificate, and the remedy."""
    return _CERTIFICATE.get(code, (f"was refused (code {code})", _OWNER))


def is_no_tls(reason: str) -> bool:
    """True if OpenSSL's reason means that the other side speaks no TLS."""
    return _HANDSHAKE.get(reason, ("", ""))[0].endswith("speaks no TLS")


def of_handshake(reason: str, *, is_tls_proxy: bool) -> tuple[str, str]:
    """What ended a handshake, and the remedy.

    Args:
        reason: OpenSSL's name of it, "" where it has none.
        is_tls_proxy: the route uses a proxy whose URL begins with https://.
    """
    words, remedy = _HANDSHAKE.get(reason, ("", ""))
    if is_no_tls(reason) and is_tls_proxy:
        return "the proxy speaks no TLS", "write its URL with http:// (the files come by TLS still)"
    said = reason.lower().replace("_", " ") if reason else "no reason was given"
    return words or f"TLS failed: {said}", remedy or _OWNER
