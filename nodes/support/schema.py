"""Sockets of this pack, and node schemas that suit every supported ComfyUI."""

from __future__ import annotations

import dataclasses
from typing import Any

from .host import io

CATEGORY = "ToProVAR"

Model = io.Custom("INFINITY")
TextEncoder = io.Custom("INFINITY_TEXT_ENCODER")
Conditioning = io.Custom("INFINITY_CONDITIONING")
Size = io.Custom("INFINITY_SIZE")
Plan = io.Custom("INFINITY_PLAN")
Trace = io.Custom("INFINITY_TRACE")
Report = io.Custom("INFINITY_REPORT")
Draft = io.Custom("INFINITY_DRAFT")

KNOWN = {field.name for field in dataclasses.fields(io.Schema)}
"""What a schema can say in this ComfyUI."""


def schema(node_id: str, display_name: str, **values: Any) -> io.Schema:
    """An ``io.Schema`` in this pack's category.

    Args:
        values: fields of the schema; those that this ComfyUI does not know yet (search_aliases,
            has_intermediate_output) are left out.
    """
    values = {name: value for name, value in values.items() if name in KNOWN}
    return io.Schema(node_id=node_id, display_name=display_name, category=CATEGORY, **values)


def hidden(given: io.Input) -> io.Input:
    """The input, which a panel stands for: the browser shows no field of its own for it."""
    given.extra_dict = {**(given.extra_dict or {}), "hidden": True}
    return advanced(given)


def advanced(given: io.Input) -> io.Input:
    """The input, shown only where advanced inputs are."""
    if hasattr(given, "advanced"):
        given.advanced = True
    elif hasattr(given, "extra_dict"):
        given.extra_dict = {**(given.extra_dict or {}), "advanced": True}
    return given
