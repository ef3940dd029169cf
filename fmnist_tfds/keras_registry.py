"""A saved model that holds `Preprocess` loads after `import fmnist_tfds`, before Keras or after.

Keras looks a layer of a .keras file up in its registry and imports no module but its own, and this
package imports neither Keras nor TensorFlow. So the names are entered as soon as Keras is there,
and stand for classes that are imported when a model needs them. Never imports TensorFlow or Keras.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

_LAYERS = {"Preprocess": "fmnist_tfds.input_pipeline.preprocess"}


def announce() -> None:
    """Enters the layers in Keras's registry, now or when Keras is imported."""
    if "keras" in sys.modules:
        _enter(importlib.import_module("keras"))  # waits where another thread is importing it
    else:
        sys.meta_path.insert(0, _WhenKerasComes())


def _enter(keras: types.ModuleType) -> None:
    registry = keras.saving.get_custom_objects()
    for name, module in _LAYERS.items():
        registry.setdefault(f"fmnist_tfds>{name}", _standing_for(name, module))


def _standing_for(name: str, module: str) -> type:
    """A class that Keras can make the layer from; the layer's own takes its place on import."""

    def from_config(config: dict[str, Any]) -> Any:
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})


class _WhenKerasComes(importlib.abc.MetaPathFinder):
    """Finds Keras as the other finders do; enters the layers when it has been imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras":
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                spec.loader = _Entering(spec.loader, self)
                return spec
        return None


class _Entering(importlib.abc.Loader):
    def __init__(self, loader: Any, finder: _WhenKerasComes) -> None:
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
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _enter(module)
