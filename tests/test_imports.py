"""The laws of the house: who may import what, who reads the environment, how long a module is."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "fmnist_tfds"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("tensorflow", "tensorflow_datasets", "keras")
WITHOUT_TENSORFLOW = ("download", "exchange")
WITHOUT_TENSORFLOW_FILES = (
    "errors.py",
    "atomic_file.py",
    "catalog.py",
    "claim.py",
    "settings.py",
    "config.py",
    "toml_file.py",
    "idx.py",
    "png.py",
    "tfrecord.py",
    "obtain.py",
    "keras_data.py",
)
# Drawing the stand-in needs numpy alone; its builder beside it is TFDS's.
WITHOUT_TENSORFLOW_PATHS = tuple(
    f"fmnist_synthetic/{name}.py" for name in ("__init__", "generator", "raster", "silhouettes")
)


def _imports(path: pathlib.Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _room(path: pathlib.Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.name


def _ids(path: pathlib.Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_imports_obey_the_law(path):
    names = _imports(path)
    roots = {name.partition(".")[0] for name in names}
    room = _room(path)
    without_tensorflow = (*WITHOUT_TENSORFLOW, *WITHOUT_TENSORFLOW_FILES, *WITHOUT_TENSORFLOW_PATHS)
    if {room, path.relative_to(PACKAGE).as_posix()} & set(without_tensorflow):
        assert not roots & set(HEAVY)
    if room == "download":
        assert not any(name.startswith("fmnist_tfds.exchange") for name in names)
    if room == "input_pipeline":
        forbidden = ("download", "obtain", "fmnist_resilient", "fmnist_synthetic", "exchange")
        assert not any(name.startswith(f"fmnist_tfds.{f}") for f in forbidden for name in names)
    if room in ("errors.py", "catalog.py", "atomic_file.py"):
        assert not any(name.startswith("fmnist_tfds") for name in names)


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_modules_stay_small_and_only_config_reads_the_environment(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 320
    if _room(path) != "config.py":
        assert "os.environ" not in text
        assert "getenv" not in text
    if not path.name.startswith("cli"):
        assert "absl.flags" not in text
        assert "import flags" not in text
        assert "sys.exit" not in text


def test_digests_stand_in_one_place():
    from fmnist_tfds import catalog

    digests = [
        digest
        for dataset in catalog.DATASETS.values()
        for file in dataset.files
        for digest in (file.gz_sha256, file.payload_sha256)
        if digest
    ]
    for path in MODULES:
        if path.name != "catalog.py":
            text = path.read_text(encoding="utf-8")
            assert not [d for d in digests if d in text], path


def test_importing_the_package_never_imports_tensorflow():
    # Named one by one: pkgutil.walk_packages would import input_pipeline, which is TensorFlow's.
    free = {*WITHOUT_TENSORFLOW, *WITHOUT_TENSORFLOW_FILES, *WITHOUT_TENSORFLOW_PATHS}
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if {_room(path), path.relative_to(PACKAGE).as_posix()} & free and path.stem != "__main__"
    ]
    code = (
        "import sys, importlib, fmnist_tfds\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
