"""The program inside a bundle: verifies and extracts it with the standard library alone.

    python fmnist.bundle.zip --verify
    python fmnist.bundle.zip --extract FOLDER

This file is copied into every bundle as __main__.py, with the manifest's digest filled in. It
imports nothing but the standard library, so that it runs where nothing may be installed.
"""

import hashlib
import json
import os
import pathlib
import sys
import zipfile
import zlib

MANIFEST_SHA256 = "0000000000000000000000000000000000000000000000000000000000000000"
BLANK = "0" * 64
# Of one member, packed or unpacked; the largest payload takes 47 MB.
MOST_BYTES = 1 << 28
USAGE = """This is a bundle of {title}: four files, their digests, licence and receipt.

    python {name} --verify            check every byte
    python {name} --extract FOLDER    check, then write the four .gz files there
"""


class BundleError(Exception):
    """What is wrong with the bundle, in one sentence."""


def read_members(archive: zipfile.ZipFile) -> dict:  # type: ignore[type-arg]
    """Name -> bytes of every member; BundleError names the first damaged one."""
    members = {}
    for info in archive.infolist():
        if info.file_size > MOST_BYTES or info.compress_type != zipfile.ZIP_STORED:
            raise BundleError(f"{info.filename}: not a member as it was written")
        if info.filename in members:
            raise BundleError(f"{info.filename}: stands twice")
        try:
            members[info.filename] = archive.read(info)
        # BadZipFile: CRC or header; the others: forged header fields.
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise BundleError(f"{info.filename}: damaged: {error}") from error
        except RuntimeError as error:  # zipfile's word for a password
            raise BundleError(f"{info.filename}: marked as encrypted") from error
    return members


def check(members: dict, manifest_sha256: str) -> dict:  # type: ignore[type-arg]
    """The manifest, once every member matches it; BundleError names the first that does not."""
    text = members.get("MANIFEST.json", b"")
    if hashlib.sha256(text).hexdigest() != manifest_sha256:
        raise BundleError("MANIFEST.json: sha256 differs from the one in __main__.py")
    try:
        manifest: dict = json.loads(text)  # type: ignore[type-arg]
        check_members(members, manifest, manifest_sha256)
    # No JSON, or JSON of another shape.
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"MANIFEST.json: not a manifest: {error!r}") from error
    return manifest


def check_members(members: dict, manifest: dict, digest: str) -> None:  # type: ignore[type-arg]
    """BundleError names the first member that is not what the manifest of that digest says."""
    code = members["__main__.py"].replace(digest.encode(), BLANK.encode(), 1)
    if hashlib.sha256(code).hexdigest() != manifest["importer_sha256"]:
        raise BundleError("__main__.py: sha256 differs from the manifest")
    listed = {entry["name"]: entry for entry in manifest["members"]}
    for name in sorted(set(members) - {"__main__.py", "MANIFEST.json"} ^ set(listed)):
        raise BundleError(f"{name}: {'missing' if name in listed else 'not in the manifest'}")
    for name, entry in listed.items():
        data = members[name]
        if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise BundleError(f"{name}: sha256 or length differs from the manifest")
        if "payload_sha256" in entry:
            # Bounded: whoever wrote the manifest chose its numbers.
            most = min(entry["payload_bytes"], MOST_BYTES) + 1
            try:
                payload = zlib.decompressobj(31).decompress(data, most)
            except zlib.error as error:
                raise BundleError(f"{name}: damaged: {error}") from error
            if hashlib.sha256(payload).hexdigest() != entry["payload_sha256"]:
                raise BundleError(f"{name}: the data inside differs from the manifest")


def write(folder: pathlib.Path, name: str, data: bytes) -> None:
    """Writes one file beside its place, then renames it, its bytes on the disk first."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".bundle-{os.getpid()}-{name}"
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / name)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def main(arguments: list) -> int:  # type: ignore[type-arg]
    """Runs the command line; returns 0 done, 2 usage, 3 not written, 4 not the right bytes."""
    path = pathlib.Path(__file__).parent
    wants_extract = len(arguments) == 2 and arguments[0] == "--extract"
    try:
        with zipfile.ZipFile(str(path)) as archive:
            members = read_members(archive)
        manifest = check(members, MANIFEST_SHA256)
        title = manifest.get("title", "a data set")
    # ValueError: forged fields of the table of contents.
    except (BundleError, zipfile.BadZipFile, ValueError) as error:
        sys.stderr.write(f"{path.name}: DAMAGED: {error}\n")
        return 4
    if arguments != ["--verify"] and not wants_extract:
        wants_help = bool({"-h", "--help"} & set(arguments))
        stream = sys.stdout if wants_help else sys.stderr
        stream.write(USAGE.format(title=title, name=path.name))
        return 0 if wants_help else 2
    for entry in manifest["members"]:
        sys.stdout.write(f"{entry['sha256']}  {entry['name']}\n")
    if wants_extract:
        folder = pathlib.Path(arguments[1])
        try:
            for entry in manifest["members"]:
                write(folder, entry["name"].rpartition("/")[2], members[entry["name"]])
        except OSError as error:
            sys.stderr.write(f"{folder}: cannot be written: {error.strerror or error}\n")
            return 3
        sys.stdout.write(f"{title}: genuine, written to {folder}\n")
    else:
        sys.stdout.write(f"{title}: genuine, {len(members)} members checked\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
