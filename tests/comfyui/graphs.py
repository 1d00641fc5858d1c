"""Workflows as the editor saves them, to the form that the queue takes."""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = {"Note", "MarkdownNote"}


def plain_inputs(about: dict[str, Any]) -> dict[str, Any]:
    """A node's inputs as a server without dynamic inputs has them, and this one takes them: name ->
    specification, widgets in the order of saved workflows."""
    every = {**about["input"].get("required", {}), **about["input"].get("optional", {})}
    layout = layout_of(about)
    if layout is None or not layout["is_dynamic"]:
        return every
    members: dict[str, Any] = {}
    for name, (kind, options) in every.items():
        if kind == "COMFY_DYNAMICCOMBO_V3":
            keys = [option["key"] for option in options["options"]]
            members[name] = ("COMBO", {**options, "options": keys, "default": keys[0]})
            for option in options["options"]:
                members |= {**option["inputs"].get("required", {}),
                            **option["inputs"].get("optional", {})}
        elif kind == "COMFY_AUTOGROW_V3":
            (one,) = options["template"]["input"]["optional"].values()
            members |= dict.fromkeys(layout["groups"][name][""], one)
            members |= {f"image_{n}": ("IMAGE", {
                "tooltip": f"Pictures in place of those of report_{n}."}) for n in range(1, 5)}
        else:
            members[name] = (kind, options)
    return {**{name: members[name] for name in layout["plain"]}, **members}


def layout_of(about: dict[str, Any]) -> dict[str, Any] | None:
    """What the browser is told of a node whose inputs depend on the server."""
    every = {**about["input"].get("required", {}), **about["input"].get("optional", {})}
    return next((spec[1]["toprovar_layout"] for spec in every.values()
                 if len(spec) > 1 and "toprovar_layout" in spec[1]), None)


def to_api(workflow: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """What the editor's Run button would send.

    Args:
        info: /object_info.

    Raises:
        AssertionError: the file does not fit the nodes as they are.
    """
    links = {link[0]: link for link in workflow["links"]}
    kinds = {node["id"]: node["type"] for node in workflow["nodes"]}
    prompt: dict[str, Any] = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        assert node["type"] in info, f"there is no node {node['type']}"
        every = plain_inputs(info[node["type"]])
        inputs: dict[str, Any] = {}
        values = list(node["widgets_values"])
        for name, spec in every.items():
            if not values:  # inputs that came after the workflow was saved
                break
            options = spec[1] if len(spec) > 1 else {}
            if not isinstance(spec[0], str) or spec[0] in WIDGETS:
                inputs[name] = values.pop(0)
                if options.get("control_after_generate"):
                    assert values.pop(0) in ("fixed", "randomize", "increment", "decrement")
        assert not values, f"{node['type']} has values left: {values}"
        for slot, socket in enumerate(node["inputs"]):
            assert socket["name"] in every, f"{node['type']} has no input {socket['name']}"
            if socket["link"] is None:
                continue
            _, origin, out, target, at, kind = links[socket["link"]]
            assert (target, at) == (node["id"], slot)
            assert kind in (info[kinds[origin]]["output"][out], "*")
            inputs[socket["name"]] = [str(origin), out]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
