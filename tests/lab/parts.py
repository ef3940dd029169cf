"""Real programs as hostile or helpful parts: nginx, squid, tinyproxy, haproxy, openssl, netns.

Each listens on a free loopback port, keeps everything in its own folder, and is ended by its own
process id. `missing(program)` says why a part cannot be had; tests skip with that reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
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
        return (
            ""
            if os.geteuid() == 0 and program("ip") and program("nft")
            else ("needs root, ip and nft for a network namespace")
        )
    if name == "PySocks":
        return "" if importlib.util.find_spec("socks") else "needs PySocks"
    if program(name) is None:
        return f"needs {name}"
    if name == "squid" and "--with-openssl" not in _output([program(name) or "", "-v"]):
        return "needs squid built with OpenSSL"
    return ""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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

    def _wait(self, longest_s: float = 20.0) -> None:
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
        """Ends the child and what it started: its own process group, nothing else."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(0.5 if how == signal.SIGTERM else 10)
                return

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def nginx(folder: pathlib.Path, data: pathlib.Path, tls: Certificate | None = None) -> Part:
    """A mirror: /data/ (ranges), /limited/ (1 request per second, 429), /forbidden/ (403)."""
    port = free_port()
    keys = f"ssl_certificate {tls.chain}; ssl_certificate_key {tls.key};" if tls else ""
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(f"""
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log; sendfile on; default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/s; limit_req_status 429;
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
    port = free_port()
    for path in (folder, *folder.parents):
        if path != pathlib.Path("/tmp") and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o111)
    (folder / "hosts").write_text(hosts)
    config = folder / "squid.conf"
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
connect_timeout 3 seconds
shutdown_lifetime 0 seconds
visible_hostname lab-proxy
pinger_enable off
logfile_rotate 0
{rules}
""")
    if os.geteuid() == 0:
        shutil.chown(folder, "proxy", "proxy")
    return Part([program("squid") or "squid", "-N", "-f", str(config)], port, folder)


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
    port = free_port()
    config = folder / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 20", f'LogFile "{folder}/log.txt"']
    lines += ["LogLevel Error", "MaxClients 50"]
    if filtered:
        (folder / "filter").write_text(filtered + "\n")
        lines += [f'Filter "{folder}/filter"', "FilterDefaultDeny No"]
    if password:
        lines += [f"BasicAuth ann {password}"]
    config.write_text("\n".join(lines) + "\n")
    return Part([program("tinyproxy") or "tinyproxy", "-d", "-c", str(config)], port, folder)


def haproxy(folder: pathlib.Path, *, origin_port: int) -> Part:
    """A load balancer on one port: /drop/ is cut without an answer, /tarpit/ waits, /down/ has no
    server, /denied/ is refused, everything else goes to the origin."""
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
  maxconn 200
defaults
  mode http
  retries 0
  timeout connect 1s
  timeout client 20s
  timeout server 20s
  timeout tarpit 15s
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
  server gone 127.0.0.1:{free_port()}
""")
    return Part([program("haproxy") or "haproxy", "-db", "-f", str(config)], port, folder)


# --- certificates -------------------------------------------------------------------------------


class Authority:
    """A certificate authority made with openssl."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.folder = folder / name.replace(" ", "-").lower()
        self.folder.mkdir(parents=True)
        self.key = self.folder / "ca.key"
        self.certificate = self.folder / "ca.pem"
        _openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -sha256",
            *("-keyout", self.key, "-out", self.certificate, "-subj", f"/O=Lab/CN={name}"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(
        self, name: str, *, expired: bool = False, alternative: str = "", client: bool = False
    ) -> Certificate:
        """A server certificate for `name`, by default also for 127.0.0.1 and localhost."""
        stem = self.folder / f"{name}{'-expired' if expired else ''}"
        key, request, certificate = (
            stem.with_name(stem.name + s) for s in (".key", ".csr", ".pem")
        )
        extensions = stem.with_name(stem.name + ".ext")
        names = alternative or f"DNS:{name},DNS:localhost,IP:127.0.0.1"
        extensions.write_text(
            f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n"
            f"extendedKeyUsage={'clientAuth' if client else 'serverAuth'}\n"
        )
        _openssl(
            "req -newkey rsa:2048 -nodes",
            *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
        )
        (self.folder / "index.txt").touch()
        dates = ("20200101000000Z", "20200201000000Z") if expired else ("", "")
        config = self.folder / "ca.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={self.folder}/index.txt\nunique_subject=no\n"
            f"rand_serial=yes\nnew_certs_dir={self.folder}\ndefault_md=sha256\npolicy=p\n"
            "default_days=30\n[p]\ncommonName=supplied\n"
        )
        when = ["-startdate", dates[0], "-enddate", dates[1]] if expired else []
        _openssl(
            "ca -batch -notext",
            *("-config", config, "-cert", self.certificate, "-keyfile", self.key),
            *("-in", request, "-out", certificate, "-extfile", extensions, *when),
        )
        return Certificate(certificate, key)


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
        self.name = f"lab{os.getpid()}x{free_port()}"
        self._ip("netns", "add", self.name)
        self.run(program("ip") or "ip", "link", "set", "lo", "up")
        nft = program("nft") or "nft"
        self.run(nft, "add", "table", "inet", "lab")
        chain = "{ type filter hook output priority 0 ; }"
        self.run(nft, "add", "chain", "inet", "lab", "out", chain)
        self.run(nft, "add", "rule", "inet", "lab", "out", "ip", "daddr", self.HOLE, "drop")

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
