"""Workflows as the editor saves them, to the form that the queue takes."""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = {"Note", "MarkdownNote"}


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
        about = info[node["type"]]["input"]
        every = {**about.get("required", {}), **about.get("optional", {})}
        inputs: dict[str, Any] = {}
        values = list(node["widgets_values"])
        for name, spec in every.items():
            options = spec[1] if len(spec) > 1 else {}
            if not values and name in about.get("optional", {}):
                continue  # saved before the node had it: the editor shows its default
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
