"""The parts of ``nodes.md``: every node, from the schema that ComfyUI asks it for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from .comfyui import AutogrowInput, DynamicComboInput, Input, Schema, load_nodes
from .markdown import anchor, plain, table


@cache
def schemas() -> tuple[Schema, ...]:
    """Of every node, in the pack's own order."""
    return tuple(node.define_schema() for node in load_nodes())


def plain_inputs(schema: Schema) -> Iterator[Input]:
    """The inputs of a node with those that belong to a choice; inputs that grow are left out."""
    for given in schema.inputs:
        if not isinstance(given, AutogrowInput):
            yield given
        for group in getattr(given, "groups", ()):
            yield from group.inputs


def index() -> str:
    """A line for every node."""
    return table(("node", "what it does"), [
        (f"[{one.display_name}](#{anchor(one.display_name)})", _first(one.description))
        for one in schemas()])


def every_node() -> str:
    return "\n\n".join(map(_node, schemas()))


def _node(schema: Schema) -> str:
    name = schema.node_id
    parts = [
        f"## {schema.display_name}",
        plain(schema.description),
        f"Category `{schema.category}`, type `{name}`. "
        + ("It is an output node: ComfyUI runs it also where nothing is connected to it. "
           if schema.is_output_node else "")
        + f"[Its help page](../../web/docs/{name}.md) has examples and advice.",
        "**Inputs**", _inputs(schema.inputs),
    ]
    for given in schema.inputs:
        for group in getattr(given, "groups", ()):
            if group.inputs:
                parts += [f"Where `{given.id}` is `{group.key}`:", _inputs(group.inputs, True)]
    parts += ["**Outputs**", table(("output", "type", "what it is"), [
        (f"`{one.display_name}`", f"`{one.io_type}`", plain(one.tooltip))
        for one in schema.outputs])]
    return "\n\n".join(parts)


def _inputs(inputs: Sequence[Input], in_group: bool = False) -> str:
    return table(("input", "type", "default", "what it is"), [
        (_name(one, in_group), _type(one), _default(one), plain(one.tooltip)) for one in inputs])


def _name(given: Input, in_group: bool) -> str:
    """The name and its marks; inputs of a group are always optional."""
    marks = []
    if (given.optional and not in_group) or isinstance(given, DynamicComboInput):
        marks.append("optional")
    if (given.extra_dict or {}).get("hidden"):
        marks.append("set by the panel on the node")
    elif given.advanced:
        marks.append("advanced")
    if isinstance(given, AutogrowInput):
        names = given.template.names
        return f"`{names[0]}` ... `{names[-1]}`" + _told(["optional"])
    return f"`{given.id}`" + _told(marks)


def _told(marks: Sequence[str]) -> str:
    return f" ({', '.join(marks)})" if marks else ""


def _type(given: Input) -> str:
    """Its type, and the values that it takes."""
    choices: list[str] | None = getattr(given, "choices", None)
    if choices is not None:
        return ", ".join(f"`{one}`" for one in choices) if choices else "files of this kind"
    low, high = given.options.get("min"), given.options.get("max")
    told = f"`{given.io_type}`"
    return told if low is None or high is None else f"{told}, {_number(low)} to {_number(high)}"


def _default(given: Input) -> str:
    value: Any = getattr(given, "default", None)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return _number(value)


def _number(value: float) -> str:
    """As a reader writes it: the largest numbers of 53, 63 and 64 bits as powers of two."""
    if isinstance(value, int) and abs(value) >= 1 << 32:
        for bits in (53, 63, 64):
            if abs(value) in (1 << bits, (1 << bits) - 1):
                less = " - 1" if abs(value) % 2 else ""
                return ("-" if value < 0 else "") + (f"(2^{bits}{less})" if value < 0 and less
                                                     else f"2^{bits}{less}")
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _first(text: str) -> str:
    """The first sentence."""
    head, dot, _ = plain(text).partition(". ")
    return head + dot.strip()
