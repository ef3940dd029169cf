"""The issuer of a certificate is read without trusting it."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest

from fmnist_tfds.download.diagnosis import certificates


@pytest.fixture
def self_signed(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    path = tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [
            *command.split(),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path)),
            *("-subj", "/O=Corp Gmbh/OU=IT/CN=Inspection CA ä", "-utf8"),
        ],
        check=True,
        capture_output=True,
    )
    return path


def test_issuer_names_organisation_and_common_name(self_signed):
    der = ssl.PEM_cert_to_DER_cert(self_signed.read_text())
    assert certificates.issuer_of(der) == "Corp Gmbh, Inspection CA ä"


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x03\x02\x01", b"\x30\x80", b"GET / HTTP"])
def test_junk_is_not_a_certificate(junk):
    with pytest.raises(ValueError, match=r"DER|certificate"):
        certificates.issuer_of(junk)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("raw.githubusercontent.com", True),
        ("mirror.example", True),
        ("artifactory.corp", False),
        ("artifactory.corp.", False),
        ("Git.Internal", False),
        ("wiki.intranet", False),
        ("nas.local", False),
        ("nas.lan", False),
        ("nas.home.arpa", False),
        ("a.localhost", False),
        ("mirror.example.", True),
        ("mycorp.example", True),
        ("localhost", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("8.8.8.8", True),
    ],
)
def test_public_hosts_are_told_from_private_ones(host, public):
    assert certificates.is_public(host) is public
