"""What `import fmnist_tfds` enters in the registries of others: TFDS's data sets, Keras's layers.

It imports neither: that takes seconds, and most commands and `load_data` need none of it. They are
entered as soon as TFDS or Keras is there, whoever imports it, before or after this package. Keras
looks a layer of a .keras file up in its registry and imports no module but its own: there, a class
stands that imports the layer's module when a model needs it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from fmnist_tfds import catalog

_DATA_SETS = tuple(catalog.DATASETS)  # those of this package: others enter themselves later
_LAYERS = {"Preprocess": "fmnist_tfds.input_pipeline.preprocess"}
_Enter = Callable[[types.ModuleType], None]


def announce() -> None:
    """Enters the data sets and the layers, now or when TFDS and Keras are imported."""
    enter: _Enter
    for name, enter in (("tensorflow_datasets", _enter_data_sets), ("keras", _enter_layers)):
        if name in sys.modules:
            enter(importlib.import_module(name))  # waits where another thread is importing it
        else:
            sys.meta_path.insert(0, _WhenItComes(name, enter))


def _enter_data_sets(tfds: types.ModuleType) -> None:
    registered = importlib.import_module(f"{tfds.__name__}.core.registered")
    for name in _DATA_SETS:
        module = importlib.import_module(f"fmnist_tfds.datasets.{name}.{name}_dataset_builder")
        # `tfds build PATH` imports the builder, and so this package, with registration switched
        # off; a later `tfds.load` in the same process would then not find the name.
        registered._DATASET_REGISTRY.setdefault(name, module.Builder)


def _enter_layers(keras: types.ModuleType) -> None:
    registry = keras.saving.get_custom_objects()
    for name, module in _LAYERS.items():
        registry.setdefault(f"fmnist_tfds>{name}", _standing_for(name, module))


def _standing_for(name: str, module: str) -> type:
    """A class that Keras can make the layer from; the layer's own takes its place on import."""

    def from_config(config: dict[str, Any]) -> Any:
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})


class _WhenItComes(importlib.abc.MetaPathFinder):
    """Finds a module as the other finders do; enters ours when it has been imported."""

    def __init__(self, name: str, enter: _Enter) -> None:
        self._name, self._enter = name, enter

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                spec.loader = _Entering(spec.loader, self)
                return spec
        return None

    def came(self, module: types.ModuleType) -> None:
        """The module is there."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._enter(module)


class _Entering(importlib.abc.Loader):
    def __init__(self, loader: Any, finder: _WhenItComes) -> None:
        self._loader, self._finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # resources, source: as without us

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        # Whoever looks at the module sees the loader that it has without us.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.came(module)
