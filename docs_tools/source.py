"""Classes and functions as they stand in the source, with their docstrings taken apart.

The source is read rather than imported: signatures then look as they were written, whatever the
version of Python, and neither torch nor diffusers is needed.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "toprovar"
Function = ast.FunctionDef | ast.AsyncFunctionDef
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
_ENTRY = re.compile(r"(?P<names>[*\w. ,]+?): (?P<text>.*)", re.DOTALL)


class Module(NamedTuple):
    """A module's tree and text."""

    name: str
    tree: ast.Module
    text: str

    def of(self, node: ast.AST) -> str:
        """The source of a node, on one line."""
        return " ".join((ast.get_source_segment(self.text, node) or "").split())


class Found(NamedTuple):
    """A definition, and the module that it stands in."""

    module: Module
    node: ast.ClassDef | Function

    @property
    def docstring(self) -> Docstring:
        return taken_apart(ast.get_docstring(self.node) or "")


class Docstring(NamedTuple):
    """A docstring: its paragraphs, and its sections by their names.

    ``Args`` and ``Attributes`` are lists of (names, text); the others are texts.
    """

    paragraphs: tuple[str, ...]
    entries: dict[str, tuple[tuple[tuple[str, ...], str], ...]]
    texts: dict[str, str]


@cache
def module(name: str) -> Module:
    path = ROOT.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = path.read_text("utf-8")
    return Module(name, ast.parse(text), text)


def find(where: str, name: str) -> Found | None:
    """A class or function by the name that a module has for it; None if it is not of this package,
    or is something else."""
    own = module(where)
    for node in own.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) \
                and node.name == name:
            return Found(own, node)
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(_absolute(own, node), alias.name)
    return None


def _absolute(own: Module, node: ast.ImportFrom) -> str:
    is_package = (ROOT.joinpath(*own.name.split("."))).is_dir()
    parts = own.name.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def public_methods(found: Found) -> Iterator[Found]:
    """Of a class and its bases in this package: each once, as the class has it. Of the methods with
    two underscores only ``__call__``, ``__iter__`` and ``__len__``."""
    seen = set[str]()
    for cls in _bases(found):
        for node in _body(cls):
            if isinstance(node, Function) and node.name not in seen:
                seen.add(node.name)
                if not node.name.startswith("_") or node.name in ("__call__", "__iter__",
                                                                  "__len__"):
                    yield Found(cls.module, node)


def _bases(found: Found) -> Iterator[Found]:
    """The class, then those that it inherits from."""
    yield found
    assert isinstance(found.node, ast.ClassDef)
    for base in found.node.bases:
        if isinstance(base, ast.Name) and (own := find(found.module.name, base.id)) is not None \
                and isinstance(own.node, ast.ClassDef):
            yield from _bases(own)


def _body(cls: Found) -> list[ast.stmt]:
    assert isinstance(cls.node, ast.ClassDef)
    return cls.node.body


def decorators(found: Found) -> set[str]:
    return {found.module.of(one).partition("(")[0].rpartition(".")[2]
            for one in found.node.decorator_list}


def fields(found: Found) -> Iterator[tuple[str, str, str]]:
    """(name, type, default or "") of every field that a class without ``__init__`` is made from."""
    for node in _body(found):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) \
                and not node.target.id.startswith("_"):
            kind, default = found.module.of(node.annotation), _field_default(found.module, node)
            if not kind.startswith("ClassVar") and default is not None:
                yield node.target.id, kind, default


def _field_default(own: Module, node: ast.AnnAssign) -> str | None:
    """The default of a field; "" = it must be given, None = it cannot be given."""
    if node.value is None:
        return ""
    if not (isinstance(node.value, ast.Call) and own.of(node.value.func) in ("Field", "field")):
        return own.of(node.value)
    how = {one.arg: own.of(one.value) for one in node.value.keywords}
    if how.get("init") == "False":
        return None
    if "default_factory" in how:
        return f"{how['default_factory']}()"
    return how.get("default", "")


def signature(name: str, found: Found) -> str:
    """A call, as it was written: one line where it fits, else an argument a line."""
    node = found.node
    assert isinstance(node, Function)
    arguments = list(_arguments(found, node))
    if arguments and arguments[0] in ("self", "cls"):
        arguments = arguments[1:]
    result = f" -> {found.module.of(node.returns)}" if node.returns is not None else ""
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){result}"


def _arguments(found: Found, node: Function) -> Iterator[str]:
    own = node.args
    plain = [*own.posonlyargs, *own.args]
    defaults = [None] * (len(plain) - len(own.defaults)) + list(own.defaults)
    for one, default in zip(plain, defaults, strict=True):
        yield _argument(found.module, one, default)
    if own.vararg:
        yield "*" + _argument(found.module, own.vararg, None)
    elif own.kwonlyargs:
        yield "*"
    for one, default in zip(own.kwonlyargs, own.kw_defaults, strict=True):
        yield _argument(found.module, one, default)
    if own.kwarg:
        yield "**" + _argument(found.module, own.kwarg, None)


def _argument(own: Module, argument: ast.arg, default: ast.expr | None) -> str:
    told = argument.arg
    if argument.annotation is not None:
        told += f": {own.of(argument.annotation)}"
    if default is not None:
        told += (" = " if argument.annotation is not None else "=") + own.of(default)
    return told


def taken_apart(text: str) -> Docstring:
    """The parts of a docstring."""
    paragraphs, entries, texts = list[str](), {}, dict[str, str]()
    for block in re.split(rf"\n(?=(?:{'|'.join(SECTIONS)}):\n)", inspect.cleandoc(text)):
        head, _, body = block.partition("\n")
        if head.removesuffix(":") in SECTIONS and head.endswith(":"):
            name = head[:-1]
            content = inspect.cleandoc("\n" + body)
            if name in ("Args", "Attributes"):
                entries[name] = tuple(_entries(content))
            else:
                texts[name] = content
        else:
            paragraphs += [part.strip() for part in block.split("\n\n") if part.strip()]
    return Docstring(tuple(paragraphs), entries, texts)


def _entries(content: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Entries begin at the margin, their further lines are indented."""
    for entry in lines_of(content):
        match = _ENTRY.match(entry)
        if match is None:
            raise ValueError(f"this entry of a docstring has no name: {entry!r}")
        names = tuple(name.strip() for name in match["names"].split(","))
        yield names, " ".join(match["text"].split())


def lines_of(content: str) -> list[str]:
    """A section's entries, each with the lines that are indented below it."""
    return re.split(r"\n(?=\S)", content)
