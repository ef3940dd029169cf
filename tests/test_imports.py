"""The laws: which wing may import which, who reads the environment, how long a module is."""

from __future__ import annotations

import ast
import functools
import pathlib
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "fmnist_tfds"
MODULES = sorted(PACKAGE.rglob("*.py"))

GROUND = ("version", "errors", "artifacts", "catalog", "atomic_file", "processes")
BELOW = ("artifacts", "errors")  # what the ground floor itself stands on
# Wing -> what of this package it may import besides itself; every wing may import GROUND.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "formats": (),
    "config": (),
    "download/diagnosis": ("config", "formats"),
    "download": ("config", "formats", "download/diagnosis"),
    "download/cache": ("formats",),
    "download/transport": ("config", "formats", "download/diagnosis", "download/cache"),
    "download/policy": (
        *("config", "formats", "download"),
        *("download/diagnosis", "download/cache", "download/transport"),
    ),
    # The ladder takes exchange/adopt only where it is asked for, by a late import.
    "obtain": (
        *("config", "formats", "download", "exchange", "exchange/adopt"),
        *("download/diagnosis", "download/cache", "download/policy"),
    ),
    "doctor": (
        *("config", "formats", "download"),
        *("download/diagnosis", "download/transport", "download/policy"),
    ),
    "exchange/adopt": ("formats", "download/cache"),
    "exchange": ("config", "formats", "exchange/adopt"),
    "any_dataset": ("config", "download", "download/cache", "obtain"),
    "everywhere": ("any_dataset",),
    "version_folder": (),
    "registries": (),
    "datasets": ("config", "formats", "download", "obtain", "version_folder"),
    # load_data takes what obtain_files takes: settings, mirrors and progress by their types.
    "keras_data": ("config", "download", "formats", "obtain"),
    "input_pipeline": ("formats", "version_folder"),
    "training": ("config", "download", "obtain", "datasets", "input_pipeline"),
    "benchmark": ("input_pipeline", "datasets", "training", ""),
    "cli": (
        *("config", "formats", "download", "obtain", "doctor", "exchange", "exchange/adopt"),
        *("datasets", "training", "benchmark", "any_dataset", ""),
    ),
    "__main__": ("cli",),
    # The package's own surface.
    "": ("obtain", "any_dataset", "keras_data", "registries", "input_pipeline"),
}

# Drawing the stand-in needs numpy alone; the builders beside it are TFDS's.
WITHOUT_TFDS = (
    *(*GROUND, "formats", "config", "obtain", "doctor", "exchange", "keras_data", "download"),
    *("exchange/adopt", "download/diagnosis", "download/cache", "download/transport"),
    "download/policy",
)
TENSORFLOW_WINGS = ("input_pipeline", "training", "benchmark")


def _relative(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _wing(relative: str) -> str:
    parts = relative.removesuffix(".py").removesuffix("__init__").rstrip("/").split("/")
    nested = "/".join(parts[:2])
    if nested in MAY_IMPORT:
        return nested
    return parts[0]


def _wing_of_module(dotted: str) -> str:
    parts = dotted.split(".")[1:]
    while parts:
        folder = PACKAGE.joinpath(*parts)
        if folder.is_dir() or folder.with_suffix(".py").is_file():
            return _wing("/".join(parts) + ("/__init__.py" if folder.is_dir() else ".py"))
        parts.pop()
    return ""


@functools.cache
def _imports(path: pathlib.Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_obey_the_table_of_wings():
    assert len(MODULES) > 100
    for path in MODULES:
        wing = _wing(_relative(path))
        may = {*GROUND, *MAY_IMPORT.get(wing, ())} if wing not in GROUND else set(BELOW)
        ours = {name for name in _imports(path) if name.partition(".")[0] == "fmnist_tfds"}
        wrong = {name for name in ours if _wing_of_module(name) not in {wing, *may}}
        assert not wrong, f"{_relative(path)}: {wing} may import {sorted(may)}"


def test_the_table_of_wings_has_no_circle():
    done: set[str] = set(GROUND)
    left = dict(MAY_IMPORT)
    while left:
        ready = [wing for wing, imports in left.items() if set(imports) <= done]
        assert ready, f"a circle among {sorted(left)}"
        done |= set(ready)
        for wing in ready:
            del left[wing]


def test_tensorflow_and_tfds_stay_in_their_wings():
    for path in MODULES:
        roots = {name.partition(".")[0] for name in _imports(path)}
        wing = _wing(_relative(path))
        if wing not in TENSORFLOW_WINGS:
            assert not roots & {"tensorflow", "keras"}, path
        if wing in WITHOUT_TFDS:
            assert "tensorflow_datasets" not in roots, path


def test_modules_stay_small_and_only_the_loader_reads_the_environment():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 320, path
        if _relative(path) != "config/loader.py":
            assert "os.environ" not in text, path
            assert "getenv" not in text, path
        if _wing(_relative(path)) != "cli":
            assert "absl.flags" not in text, path
            assert "import flags" not in text, path
            assert "sys.exit" not in text, path


def test_folders_stay_small_enough_to_take_in():
    folders = {path.parent for path in MODULES}
    for folder in folders:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= 12, folder


def test_no_module_hands_on_the_names_of_another():
    """An alias such as `Cause = causes.Cause` would give one thing two homes."""
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fmnist_tfds")
            for alias in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
                base, targets = node.value.value, node.targets
                same = any(isinstance(t, ast.Name) and t.id == node.value.attr for t in targets)
                is_ours = isinstance(base, ast.Name) and base.id in modules
                assert not (is_ours and same), f"{_relative(path)}: {node.value.attr}"


def test_digests_stand_in_one_place():
    from fmnist_tfds import catalog

    digests = [
        digest
        for dataset in catalog.DATASETS.values()
        for file in dataset.files
        for digest in (file.sha256, file.payload_sha256)
        if digest
    ]
    for path in [*MODULES, *PACKAGE.rglob("*.toml")]:
        if path.name != "catalog.toml":
            text = path.read_text(encoding="utf-8")
            assert not [d for d in digests if d in text], path


def test_importing_what_needs_no_tensorflow_never_imports_it():
    # Named one by one: pkgutil.walk_packages would import input_pipeline, which is TensorFlow's.
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if _wing(_relative(path)) in (*WITHOUT_TFDS, "datasets", "cli") and path.stem != "__main__"
    ]
    code = (
        "import sys, importlib, fmnist_tfds\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
