"""Real programs as hostile or helpful parts: nginx, squid, tinyproxy, haproxy, openssl, netns.

Each listens on a loopback port of its own, keeps everything in its own folder, and is ended by its
own process id. `missing(program)` says why a part cannot be had; tests skip with that reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

_FOUND_IN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def program(name: str) -> str | None:
    """The program's path; system daemons often stand outside PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_FOUND_IN])
    return shutil.which(name, path=path)


def missing(name: str) -> str:
    """Why a part cannot be had, "needs …", or ""."""
    if name == "netns":
        if os.geteuid() or not (program("ip") and program("nft") and program("unshare")):
            return "needs root, ip, nft and unshare for a network namespace"
        # Root in a container may not.
        probe = [program("unshare") or "", "-n", "-m", "true"]
        allowed = not subprocess.run(probe, capture_output=True, check=False).returncode
        return "" if allowed else "needs the right to make a network namespace"
    if name == "PySocks":
        return "" if importlib.util.find_spec("socks") else "needs PySocks"
    if program(name) is None:
        return f"needs {name}"
    if name == "squid" and "--with-openssl" not in _output([program(name) or "", "-v"]):
        return "needs squid built with OpenSSL"
    return ""


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A loopback port that no other program is given, and that refuses connections.

    Linux lets a server listen there that sets SO_REUSEADDR, as all of these do: so a port cannot
    be taken between choosing it and listening, and who answers there is the server.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class Part:
    """A child process that listens on a loopback port."""

    def __init__(self, command: Sequence[str], port: int, folder: pathlib.Path) -> None:
        self.port = port
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}/"
        with (folder / "output.txt").open("wb") as output:
            self._child = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            )
        self._wait()

    def _wait(self, longest_s: float = 120.0) -> None:
        end = time.monotonic() + longest_s
        while time.monotonic() < end:
            if self._child.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=1),
            ):
                return
            time.sleep(0.05)
        self.close()
        raise RuntimeError(f"it did not start:\n{(self.folder / 'output.txt').read_text()}")

    def close(self) -> None:
        """Ends the child and what it started: its own process group, nothing else.

        At once: all it has lies in its own folder, and asked to end, squid takes its time.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait(120)

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def nginx(folder: pathlib.Path, data: pathlib.Path, tls: Certificate | None = None) -> Part:
    """A mirror: /data/ (ranges), /limited/ (5 requests a second, else 429), /forbidden/ (403)."""
    keys = f"ssl_certificate {tls.chain}; ssl_certificate_key {tls.key};" if tls else ""
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    with held_port() as port:
        config.write_text(f"""
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log; sendfile on; default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone $binary_remote_addr zone=slow:1m rate=5r/s; limit_req_status 429;
  server {{
    listen 127.0.0.1:{port} {"ssl" if tls else ""}; {keys}
    location /data/ {{ alias {data}/; }}
    location /limited/ {{ alias {data}/; limit_req zone=slow; }}
    location /slow/ {{ alias {data}/; limit_rate 2m; }}
    location /forbidden/ {{ return 403; }}
  }}
}}
""")
        command = [program("nginx") or "nginx", "-p", str(folder), "-c", str(config)]
        part = Part(command, port, folder)
    part.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    return part


def squid(
    folder: pathlib.Path,
    *,
    rules: str = "http_access allow all",
    listen: str = "",
    hosts: str = "127.0.0.1 localhost\n",
) -> Part:
    """A forward proxy; `rules` are squid.conf lines, `listen` options of its port."""
    for path in (folder, *folder.parents):
        if path != pathlib.Path("/tmp") and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o111)
    (folder / "hosts").write_text(hosts)
    config = folder / "squid.conf"
    with held_port() as port:
        config.write_text(f"""
http_port 127.0.0.1:{port} {listen}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
access_log none
cache deny all
cache_mem 8 MB
hosts_file {folder}/hosts
dns_nameservers 127.0.0.1
dns_timeout 1 seconds
connect_timeout 60 seconds
shutdown_lifetime 0 seconds
visible_hostname lab-proxy
pinger_enable off
logfile_rotate 0
{rules}
""")
        if os.geteuid() == 0:
            shutil.chown(folder, "proxy", "proxy")
        return _Squid(port, folder, config)


class _Squid(Part):
    """Squid under a service name of its own: its shared memory is nobody else's, nor left over."""

    def __init__(self, port: int, folder: pathlib.Path, config: pathlib.Path) -> None:
        self._name = f"lab{port}"
        command = [program("squid") or "squid", "-N", "-n", self._name, "-f", str(config)]
        super().__init__(command, port, folder)

    def close(self) -> None:
        super().close()
        # Ended by force, it leaves these behind.
        for left in pathlib.Path("/dev/shm").glob(f"{self._name}-*.shm"):
            left.unlink(missing_ok=True)


def squid_password_rules(folder: pathlib.Path) -> str:
    """Rules that ask for Basic authentication, user "ann", password "s3cret"."""
    helper = folder / "check.sh"
    helper.write_text(
        "#!/bin/sh\nwhile read user password; do\n"
        'if [ "$user $password" = "ann s3cret" ]; then echo OK; else echo ERR; fi\ndone\n'
    )
    helper.chmod(0o755)
    return (
        f"auth_param basic program {helper}\nauth_param basic realm lab\n"
        # Started at once: helpers that squid starts on demand refuse the first users under load.
        "auth_param basic children 4 startup=4 idle=1\n"
        "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all"
    )


def squid_bump(
    folder: pathlib.Path, authority: Authority, trusted: pathlib.Path, hosts: str
) -> Part:
    """A proxy that re-signs TLS with `authority`; it trusts `trusted` towards the origin."""
    database = folder / "certificates"
    generator = next(
        (p for p in ("/usr/lib/squid/security_file_certgen",) if pathlib.Path(p).exists()), ""
    )
    subprocess.run(
        [generator, "-c", "-s", str(database), "-M", "4MB"], check=True, capture_output=True
    )
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "proxy:proxy", str(database)], check=True)
    pem = folder / "bump.pem"
    pem.write_text(authority.key.read_text() + authority.certificate.read_text())
    pem.chmod(0o644)
    return squid(
        folder,
        listen=f"ssl-bump generate-host-certificates=on tls-cert={pem}",
        rules=f"sslcrtd_program {generator} -s {database} -M 4MB\nsslcrtd_children 1\n"
        f"ssl_bump bump all\ntls_outgoing_options cafile={trusted}\nhttp_access allow all",
        hosts=hosts,
    )


def tinyproxy(folder: pathlib.Path, *, filtered: str = "", password: str = "") -> Part:
    """A forward proxy; `filtered` is a host pattern that it refuses."""
    config = folder / "tinyproxy.conf"
    lines = ["Listen 127.0.0.1", "Timeout 120", f'LogFile "{folder}/log.txt"']
    lines += ["LogLevel Error", "MaxClients 50"]
    if filtered:
        (folder / "filter").write_text(filtered + "\n")
        lines += [f'Filter "{folder}/filter"', "FilterDefaultDeny No"]
    if password:
        lines += [f"BasicAuth ann {password}"]
    with held_port() as port:
        config.write_text("\n".join([f"Port {port}", *lines]) + "\n")
        return Part([program("tinyproxy") or "tinyproxy", "-d", "-c", str(config)], port, folder)


def haproxy(folder: pathlib.Path, *, origin_port: int, closed_port: int) -> Part:
    """A load balancer on one port: /drop/ is cut without an answer, /tarpit/ waits, /down/ has no
    server, /denied/ is refused, everything else goes to the origin."""
    config = folder / "haproxy.cfg"
    with held_port() as port:
        config.write_text(f"""
global
  maxconn 200
defaults
  mode http
  retries 0
  timeout connect 60s
  timeout client 120s
  timeout server 120s
  timeout tarpit 120s
frontend lab
  bind 127.0.0.1:{port}
  http-request silent-drop if {{ path_beg /drop/ }}
  http-request tarpit if {{ path_beg /tarpit/ }}
  http-request reject if {{ path_beg /reject/ }}
  http-request deny if {{ path_beg /denied/ }}
  use_backend down if {{ path_beg /down/ }}
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin_port}
backend down
  server gone 127.0.0.1:{closed_port}
""")
        return Part([program("haproxy") or "haproxy", "-db", "-f", str(config)], port, folder)


# --- certificates -------------------------------------------------------------------------------


# Made a hundred times as fast as an RSA key.
_NEW_KEY = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


class Authority:
    """A certificate authority made with openssl."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.folder = folder / name.replace(" ", "-").lower()
        self.folder.mkdir(parents=True)
        self.key = self.folder / "ca.key"
        self.certificate = self.folder / "ca.pem"
        (self.folder / "index.txt").touch()
        self._config = self.folder / "ca.cnf"
        self._config.write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={self.folder}/index.txt\nunique_subject=no\n"
            f"rand_serial=yes\nnew_certs_dir={self.folder}\ndefault_md=sha256\npolicy=p\n"
            "[p]\norganizationName=optional\ncommonName=supplied\n"
        )
        request = self.folder / "ca.csr"
        _openssl(
            _NEW_KEY,
            *("-keyout", self.key, "-out", request, "-subj", f"/O=Lab/CN={name}"),
        )
        extensions = (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectKeyIdentifier=hash\n"
        )
        self._sign(request, self.certificate, extensions, "-selfsign")

    def issue(
        self, name: str, *, expired: bool = False, alternative: str = "", client: bool = False
    ) -> Certificate:
        """A server certificate for `name`, by default also for 127.0.0.1 and localhost."""
        stem = self.folder / f"{name}{'-expired' if expired else ''}"
        key, request, certificate = (
            stem.with_name(stem.name + s) for s in (".key", ".csr", ".pem")
        )
        names = alternative or f"DNS:{name},DNS:localhost,IP:127.0.0.1"
        extensions = (
            f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n"
            f"extendedKeyUsage={'clientAuth' if client else 'serverAuth'}\n"
        )
        _openssl(
            _NEW_KEY,
            *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
        )
        signer = ("-cert", self.certificate)
        self._sign(request, certificate, extensions, *signer, expired=expired)
        return Certificate(certificate, key)

    def _sign(
        self,
        request: pathlib.Path,
        certificate: pathlib.Path,
        extensions: str,
        *options: object,
        expired: bool = False,
    ) -> None:
        """Validity begins years ago, not now: a clock that is set back a little harms nothing."""
        extfile = certificate.with_name(certificate.name + ".ext")
        extfile.write_text(extensions)
        _openssl(
            "ca -batch -notext",
            *("-config", self._config, "-keyfile", self.key, "-in", request, "-out", certificate),
            *("-extfile", extfile, "-startdate", "20200101000000Z"),
            *("-enddate", "20200201000000Z" if expired else "20491231235959Z", *options),
        )


class Certificate:
    """A server certificate and its key."""

    def __init__(self, chain: pathlib.Path, key: pathlib.Path) -> None:
        self.chain = chain
        self.key = key


def _openssl(words: str, *arguments: object) -> None:
    command = [program("openssl") or "openssl", *words.split(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


# --- a network where packets are lost -----------------------------------------------------------


class Namespace:
    """A network namespace with a loopback of its own where packets to 127.0.0.9 vanish."""

    HOLE = "127.0.0.9"

    def __init__(self) -> None:
        self.name = f"lab{os.getpid()}x{secrets.token_hex(4)}"
        self._ip("netns", "add", self.name)
        try:
            self.run(program("ip") or "ip", "link", "set", "lo", "up")
            nft = program("nft") or "nft"
            self.run(nft, "add", "table", "inet", "lab")
            chain = "{ type filter hook input priority 0 ; }"
            self.run(nft, "add", "chain", "inet", "lab", "in", chain)
            self.run(nft, "add", "rule", "inet", "lab", "in", "ip", "daddr", self.HOLE, "drop")
        except BaseException:
            self.close()
            raise

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` inside."""
        return [program("ip") or "ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> None:
        subprocess.run(self.command(*words), check=True, capture_output=True)

    def close(self) -> None:
        self._ip("netns", "delete", self.name)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run([program("ip") or "ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace for the time of a with block."""
    made = Namespace()
    try:
        yield made
    finally:
        made.close()


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
