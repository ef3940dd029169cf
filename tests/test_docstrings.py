"""Docstrings: a public call of five or more parameters explains each of them under `Args:`."""

from __future__ import annotations

import ast
import pathlib
import re

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "fmnist_tfds"
MANY = 5


def _parameters(function):
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def _calls(body, prefix=""):
    """(name, parameters, docstring) of every public call; a class's docstring is __init__'s."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            for name, parameters, own in _calls(node.body, f"{prefix}{node.name}."):
                is_init = name.endswith(".__init__")
                yield name, parameters, f"{text}\n{own}" if is_init else own
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name == "__init__"
        ):
            yield prefix + node.name, _parameters(node), ast.get_docstring(node) or ""


def _unexplained(source):
    for name, parameters, text in _calls(ast.parse(source).body):
        if len(parameters) >= MANY:
            explained = text.partition("Args:\n")[2]
            lacking = [p for p in parameters if not re.search(rf"^ +{p}: ", explained, re.M)]
            if lacking:
                yield f"{name}: {', '.join(lacking)}"


def test_many_parameters_are_explained_one_by_one():
    found = {
        path.relative_to(PACKAGE).as_posix(): list(_unexplained(path.read_text(encoding="utf-8")))
        for path in PACKAGE.rglob("*.py")
    }
    assert len(found) > 100
    assert {path: lacking for path, lacking in found.items() if lacking} == {}


def test_a_parameter_without_an_explanation_is_found():
    text = '''
def f(a, b, c, d, e):
    """Does.

    Args:
        a: one.
        b: two.
        c: three.
        d: four.
    """
class C:
    """Of things.

    Args:
        a: one.
    """
    def __init__(self, a, b, c, d, e): ...
    def _private(self, a, b, c, d, e): ...
'''
    assert list(_unexplained(text)) == ["f: e", "C.__init__: b, c, d, e"]
