"""The data of `containers` as fixtures. Tests import that module: every folder has a conftest."""

from containers import real, standin

__all__ = ["real", "standin"]
