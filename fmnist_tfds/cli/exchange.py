"""The commands that hand the data on: adopt, plant, bundle, serve."""

from __future__ import annotations

import argparse
import json
import pathlib
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fmnist_tfds import errors
from fmnist_tfds.cli import any_dataset, command, flags
from fmnist_tfds.config import loader
from fmnist_tfds.exchange import plant as planting

if TYPE_CHECKING:
    from fmnist_tfds.exchange import serve as serving


def _adopt(args: argparse.Namespace) -> int:
    from fmnist_tfds.exchange.adopt import adopt as adopting

    adoption = adopting.adopt(args.path, args.out or flags.cache_folder(args))
    _keep(args, adoption.files)
    if args.json:
        files = {name: str(path) for name, path in adoption.files.items()}
        print(json.dumps({"ok": True, "form": adoption.form, "files": files}, indent=2))
    else:
        print(f"adopted from {adoption.form}")
        for path in adoption.files.values():
            print(path)
    return 0


def _keep(args: argparse.Namespace, files: Mapping[str, pathlib.Path]) -> None:
    """What was proved is in the cache from then on, also where --out names another folder."""
    if args.out is None:
        return
    from fmnist_tfds import obtain

    found = loader.load(cache_dir=args.cache_dir, manual_dir=args.out, mirrors="off")
    outcome = obtain.obtain(found)
    assert outcome.error is None or not files, outcome.error


def _adopt_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=pathlib.Path, metavar="PATH", help="a file, an archive or a folder"
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="D", help="default: the cache")
    parser.add_argument("--cache_dir", metavar="D", help="where verified files are kept")
    flags.add_json_flag(parser)


def _plant(args: argparse.Namespace) -> int:
    planted = planting.plant(args.tool, flags.obtained(args), args.root, overwrite=args.overwrite)
    for verb, paths in (("written", planted.written), ("kept", planted.kept)):
        for path in paths:
            print(f"{verb}  {path}")
    print(f"now works without a network:\n  {planted.usage}")
    return 0


def _plant_flags(parser: argparse.ArgumentParser) -> None:
    tools = planting.TOOLS
    parser.add_argument("tool", choices=tools, metavar="TOOL", help=", ".join(tools))
    parser.add_argument("--root", type=pathlib.Path, metavar="D", help="what TOOL calls its root")
    parser.add_argument("--overwrite", action="store_true", help="replace different files")
    flags.add_source_flags(parser)


def _bundle(args: argparse.Namespace) -> int:
    from fmnist_tfds.exchange import bundle as bundles

    if args.action == "export":
        if args.out is not None:
            raise errors.ConfigError(
                "bundle export writes FILE, there is no --out",
                hint=f"fmnist-tfds bundle export {args.out / args.file.name}",
            )
        written = bundles.export(flags.obtained(args), args.file)
        print(f"{written}  {written.stat().st_size:,} bytes")
        return 0
    adoption = bundles.import_(args.file, args.out or flags.cache_folder(args))
    _keep(args, adoption.files)
    for path in adoption.files.values():
        print(path)
    return 0


def _bundle_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("export", "import"), metavar="export|import", help="write or read FILE"
    )
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="the bundle")
    parser.add_argument("--out", type=pathlib.Path, metavar="D", help="import: default: the cache")
    flags.add_source_flags(parser)


def _serve(args: argparse.Namespace) -> int:
    if args.root:
        server = any_dataset.folder_server(args)
    else:
        from fmnist_tfds.exchange import serve as serving

        server = serving.serve(flags.obtained(args), args.host, args.port)
    print(f"serving {server.url}  (Ctrl-C ends)\n{_for_others(args.host, server)}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.close()
    return 0


def _for_others(host: str, server: serving.Server) -> str:
    if host in ("127.0.0.1", "::1", "localhost"):
        return "for this machine alone; --host=0.0.0.0 serves the others"
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared with, not listened on)
        return f"on the others: FMNIST_TFDS_MIRRORS=http://{socket.gethostname()}:{server.port}/"
    return f"on the others: FMNIST_TFDS_MIRRORS={server.url}"


def _serve_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="default: loopback only")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="0: a free one")
    parser.add_argument(
        "--root", type=pathlib.Path, metavar="D", help="a folder that `mirror create` made"
    )
    flags.add_source_flags(parser)


COMMANDS = (
    command.Command(
        name="adopt",
        run=_adopt,
        add_flags=_adopt_flags,
        help="turn any copy into the four files",
        example="copy.npz --out data",
        synonyms=("import", "convert", "use"),
    ),
    command.Command(
        name="plant",
        run=_plant,
        add_flags=_plant_flags,
        help="put the files where a tool looks",
        example="keras",
        synonyms=("install", "cache"),
    ),
    command.Command(
        name="bundle",
        run=_bundle,
        add_flags=_bundle_flags,
        help="one file to carry to another site",
        example="export f.zip",
        synonyms=("export", "pack", "zip"),
    ),
    command.Command(
        name="serve",
        run=_serve,
        add_flags=_serve_flags,
        help="be a mirror for the local network",
        example="--port=8000",
        synonyms=("server", "host"),
    ),
)
