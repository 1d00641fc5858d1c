"""The parts of ``python.md``: the public names of ``toprovar``, from their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from .markdown import anchor, cell, docstring, table
from .source import (
    PACKAGE,
    Docstring,
    Found,
    Function,
    decorators,
    fields,
    find,
    lines_of,
    module,
    public_methods,
    signature,
)

PACKAGES = (PACKAGE, f"{PACKAGE}.batch")
"""Packages whose ``__all__`` is public."""


TYPES = (
    (f"{PACKAGE}.schedules", "ScaleSchedule"), (f"{PACKAGE}.prompt_weights", "WeightedPrompt"),
    (f"{PACKAGE}.sampling.report", "RunReport"), (f"{PACKAGE}.sampling.observers", "ScaleState"),
    (f"{PACKAGE}.analysis.measure", "Analysis"), (f"{PACKAGE}.analysis.calibrate", "Result"),
)
"""Classes of what the public names return, which are not imported from the package itself."""
HOOKS = {"model_copy", "extract_init_dict"}
"""Methods that another library calls."""


def index() -> str:
    """A line for every name."""
    return table(("name", "what it is"), [
        (f"[`{path}`](#{anchor(path)})", _first(found.docstring))
        for path, found in public_names()])


def public_names() -> tuple[tuple[str, Found], ...]:
    """(name with its module, definition) of everything on the page."""
    return (*_public(), *_types())


def every_name() -> str:
    return "\n\n".join(part for path, found in _public() for part in _described(path, found))


def types() -> str:
    return "\n\n".join(part for path, found in _types() for part in _described(path, found))


@cache
def _public() -> tuple[tuple[str, Found], ...]:
    """(name as it is imported, definition), in the order of each ``__all__``."""
    named = list[tuple[str, Found]]()
    for package in PACKAGES:
        lazy: dict[str, str] = _value(package, "_LAZY")
        for name in _value(package, "__all__"):
            if not name.startswith("__"):
                named.append((f"{package}.{name}", _found(package + lazy[name], name)))
    return tuple(named)


def _value(package: str, name: str) -> Any:
    """A literal that a package's module has under a name."""
    for node in module(package).tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) \
                and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{package} has no {name}")


def _types() -> tuple[tuple[str, Found], ...]:
    return tuple((f"{where}.{name}", _found(where, name)) for where, name in TYPES)


def _found(where: str, name: str) -> Found:
    found = find(where, name)
    if found is None:
        raise ValueError(f"the definition of {where}.{name} was not found")
    return found


def _described(path: str, found: Found) -> Iterator[str]:
    yield f"### `{path}`"
    name = path.rpartition(".")[2]
    if isinstance(found.node, Function):
        yield _code(signature(name, found))
        yield from _documented(path, found.docstring)
        return
    yield _code(_made(name, found))
    yield from _documented(path, found.docstring)
    methods = [one for one in public_methods(found) if one.node.name not in HOOKS]
    properties = [one for one in methods if decorators(one) & {"property", "cached_property"}]
    if properties:
        yield table(("property", "type", "what it is"), [
            (f"`{one.node.name}`", f"`{_returned(one)}`", " ".join(_about(name, one)))
            for one in properties])
    for method in methods:
        if method in properties:
            continue
        own = method.node.name
        yield f"#### `{name}.{own}`"
        if decorators(method) & {"staticmethod", "classmethod"}:
            yield _code(signature(f"{name}.{own}", method))
        elif own.startswith("__"):
            object_ = re.findall("[A-Z][a-z]+", name)[-1].lower()
            made = {"__len__": f"len({object_})", "__iter__": f"for state in {object_}: ..."}
            yield _code(made.get(own) or signature(object_, method))
        else:
            yield _code(signature(own, method))
        yield from _about(name, method)


def _about(name: str, method: Found) -> Iterator[str]:
    return _documented(f"{name}.{method.node.name}", method.docstring)


def _returned(method: Found) -> str:
    assert isinstance(method.node, Function)
    return method.module.of(method.node.returns) if method.node.returns is not None else "Any"


def _made(name: str, found: Found) -> str:
    """How an object is made: by ``__init__``, or from the fields of a dataclass or model."""
    assert isinstance(found.node, ast.ClassDef)
    for node in found.node.body:
        if isinstance(node, Function) and node.name == "__init__":
            return "class " + signature(name, Found(found.module, node)).removesuffix(" -> None")
    parts = [f"{field}: {kind}" + (f" = {default}" if default else "")
             for field, kind, default in fields(found)]
    return f"class {name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _documented(path: str, text: Docstring) -> Iterator[str]:
    if not text.paragraphs:
        raise ValueError(f"{path} is public and has no docstring")
    yield from map(docstring, text.paragraphs)
    for section, head in (("Args", "argument"), ("Attributes", "attribute")):
        if section in text.entries:
            yield table((head, "what it is"), [
                (", ".join(f"`{name}`" for name in names), cell(about))
                for names, about in text.entries[section]])
    for section, about in text.texts.items():
        if section == "Example":
            yield _code(about)
        elif section == "Raises":
            yield "**Raises**\n\n" + "\n".join(
                "- " + docstring(re.sub(r"^(\w+):", r"``\1``:", line)) for line in lines_of(about))
        else:
            yield f"**{section}** {docstring(about)}"


def _first(text: Docstring) -> str:
    """The first sentence."""
    head, dot, _ = docstring(text.paragraphs[0] if text.paragraphs else "").partition(". ")
    return head + dot.strip()


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
