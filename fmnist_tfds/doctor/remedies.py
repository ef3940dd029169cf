"""Remedies to paste: export lines, TOML, a recipe for --manual_dir. Pure.

They never hold a secret: in its place stands a word in capitals, such as PASSWORD.
"""

from __future__ import annotations

from collections.abc import Sequence

from fmnist_tfds import artifacts, catalog
from fmnist_tfds.doctor import findings, summary
from fmnist_tfds.download.diagnosis import causes


def suggest(
    sources: Sequence[findings.Source], ok: bool, dataset: artifacts.ArtifactSet
) -> tuple[findings.Remedy, ...]:
    """The remedies for what failed, most useful first."""
    found: list[findings.Remedy] = []
    found += _working_first(sources, dataset)
    for look in (_intercepted, _untrusted, _password, _ntlm, _unset_proxy, _credentials):
        found += look(sources)
    if any(
        s.owner == "proxy" or (s.cause and causes.CAUSES[s.cause].permission_helps) for s in sources
    ):
        found.append(_permission())
    if not ok:
        found.append(by_hand(dataset))
    return tuple(found)


def by_hand(dataset: artifacts.ArtifactSet) -> findings.Remedy:
    """How to carry the files over from another machine."""
    folder = dataset.name
    lines = ["# on a machine that has a network"]
    if not isinstance(dataset, catalog.Catalog):
        lines += [f"fmnist-tfds mirror create {dataset.name} --out={folder}"]
        lines += ["# carry the folder over, then here"]
        lines += [f'export FMNIST_TFDS_MIRRORS="$PWD/{folder}"']
        return findings.Remedy("carry the files over by hand", "shell", "\n".join(lines))
    base = dataset.mirrors[0].rstrip("/") if dataset.mirrors else "https://mirror.example"
    lines += [f"mkdir {folder} && cd {folder}"]
    lines += [f"curl -fLO {base}/{file.name}" for file in dataset.files]
    lines += ["sha256sum --check <<'END'"]
    lines += [f"{file.sha256}  {file.name}" for file in dataset.files]
    lines += ["END", "# carry the folder over, then here"]
    lines += [f"fmnist-tfds fetch --manual_dir={folder}"]
    return findings.Remedy("carry the four files over by hand", "shell", "\n".join(lines))


def _working_first(
    sources: Sequence[findings.Source], dataset: artifacts.ArtifactSet
) -> list[findings.Remedy]:
    names = {file.name for file in dataset.files}
    remote = [s for s in sources if s.host]
    works = [s for s in remote if names <= set(s.serves)]
    # Unnamed: a TOML name carries settings of its own that a URL alone would lose.
    usable = [s.name or s.url for s in works if "***" not in s.url]
    if not usable or works[0] == remote[0]:
        return []
    listed = ",".join([*usable, *(["default"] if len(usable) < 2 else [])])
    return [
        findings.Remedy(
            "list the working mirrors first", "shell", f"export FMNIST_TFDS_MIRRORS='{listed}'"
        ),
        findings.Remedy("the same in the TOML file", "toml", f'order = "{listed}"'),
    ]


def _with(sources: Sequence[findings.Source], cause: causes.CauseName) -> list[findings.Source]:
    return [s for s in sources if s.cause == cause]


def _intercepted(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    mine = _with(sources, "tls-intercepted")
    return _trust(mine, "trust the authority that re-signs TLS here") if mine else []


def _untrusted(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    mine = [s for s in _with(sources, "tls-untrusted") if s.owner != "this machine" and s.issuer]
    return _trust(mine, "trust a private authority") if mine else []


def _trust(mine: Sequence[findings.Source], title: str) -> list[findings.Remedy]:
    issuers = ", ".join(dict.fromkeys(s.issuer for s in mine if s.issuer)) or "unknown"
    shell = (
        f"# ask the network team for the PEM file of: {issuers}\n"
        "export REQUESTS_CA_BUNDLE=/path/to/authority.pem"
    )
    toml = (
        f"# authority seen: {issuers}\n"
        '[network]\nca_bundle = "authority.pem"   # relative to this file'
    )
    first = mine[0]
    unverified = (
        f'[[mirrors]]\nname = "{first.name or "unverified"}"\nurl = "{first.url}"\n'
        "insecure_tls = true   # warned about, and recorded in the receipt"
    )
    return [
        findings.Remedy(title, "shell", shell),
        findings.Remedy(f"{title}, in the TOML file", "toml", toml),
        findings.Remedy(
            "last resort: do not verify TLS; every byte is still checked against the pinned hashes",
            "toml",
            unverified,
        ),
    ]


def _password(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    mine = _with(sources, "proxy-auth-required")
    if not mine:
        return []
    proxy = mine[0].proxy
    shell = f"export HTTPS_PROXY='http://USER:PASSWORD@{proxy}'\nexport HTTP_PROXY=\"$HTTPS_PROXY\""
    toml = '[network]\nproxy = "env:CORP_PROXY"   # the whole URL with user and password'
    return [
        findings.Remedy("log in to the proxy", "shell", shell),
        findings.Remedy("log in to the proxy, without a secret in the file", "toml", toml),
    ]


def _ntlm(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    if not (mine := _with(sources, "proxy-auth-ntlm")):
        return []
    text = (
        f"# a small local proxy that speaks NTLM or Kerberos to {mine[0].proxy}\n"
        f"pipx run px-proxy --proxy={mine[0].proxy} --port=3129 &\n"
        "export HTTPS_PROXY=http://127.0.0.1:3129 HTTP_PROXY=http://127.0.0.1:3129"
    )
    return [findings.Remedy("let px log in to the proxy", "shell", text)]


def _unset_proxy(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    mine = [s for s in sources if s.owner == "own line" and s.host]
    if not mine or any(s.proxy for s in sources):
        return []
    text = (
        "export HTTPS_PROXY=http://proxy.example:3128   # ask for its name and port\n"
        'export HTTP_PROXY="$HTTPS_PROXY"'
    )
    return [findings.Remedy("if this network has a proxy, name it", "shell", text)]


def _credentials(sources: Sequence[findings.Source]) -> list[findings.Remedy]:
    if not (mine := _with(sources, "auth-required")):
        return []
    first = mine[0]
    text = (
        f'[[mirrors]]\nname = "{first.name or "private"}"\nurl = "{first.url}"\n'
        'auth = { type = "bearer", token = "env:FMNIST_TOKEN" }'
    )
    return [findings.Remedy(f"log in to {summary.title_of(first)}", "toml", text)]


def _permission() -> findings.Remedy:
    text = (
        "fmnist-tfds doctor --allowlist > request.txt\n"
        "fmnist-tfds doctor --html report.html   # the evidence"
    )
    return findings.Remedy("ask for permission, with the request ready to send", "shell", text)
