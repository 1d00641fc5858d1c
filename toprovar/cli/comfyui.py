"""Pictures of ``generate`` as graphs of ComfyUI: on its canvas they open as what drew them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..schedules import aspect_names
from ..sparsity.strategies.options import Known, options_of, settings_of
from ..sparsity.strategies.registry import AUTO, get_strategy, names
from .strategy_options import value_of

EMBEDDED = "infinity-emoji (embedded)"
"""What *Load Infinity* calls it."""
OWN = "the model's own"


def comfyui_prompt(about: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """Nodes that draw the picture again, as ComfyUI's queue takes them.

    Args:
        about: the picture's parameters. What no node has is left to the nodes: numbers that differ
            from scale to scale, and a plan from a file.
        model: path of the model; None = the embedded one.
    """
    params = about["params"]
    graph: dict[str, Any] = {
        "1": _node("LoadInfinity", model=Path(model).name if model else EMBEDDED, vae=OWN,
                   text_encoder=OWN, dtype="auto", attention="auto", memory="fast"),
        "2": _node("TextEncode", text_encoder=["1", 1], text=about["prompt"],
                   prompt_per_line=False),
    }
    sampler = _node(
        "Sampler", model=["1", 0], conditioning=["2", 0], seed=about["seed"] % (1 << 64), images=1,
        **_size(params["schedule"]), cfg=_single(params.get("cfg")), tau=_single(params.get("tau")),
        top_p=params.get("top_p") or 0.0, preview="decoded", overlay=False)
    if about.get("negative_prompt"):
        graph["3"] = _node("TextEncode", text_encoder=["1", 1], text=about["negative_prompt"],
                           prompt_per_line=False)
        sampler["inputs"]["negative"] = ["3", 0]
    plan = _plan(about.get("plan_request") or {"plan": "dense"})
    if plan:
        graph["4"] = _node("SparsityPlanner", model=["1", 0], **plan, **_size(params["schedule"]),
                           guided=True, edits="")
        sampler["inputs"]["plan"] = ["4", 0]
    save = {"class_type": "SaveImage", "inputs": {"images": ["5", 0],
                                                  "filename_prefix": "ToProVAR"}}
    return {**graph, "5": sampler, "6": save}


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": f"ToProVAR_{kind}", "inputs": inputs}


def _size(schedule: Mapping[str, Any]) -> dict[str, str]:
    label = next(name for name, template in aspect_names().items()
                 if template == schedule["template"])
    return {"aspect": label, "pixels": schedule["pn"]}


def _single(values: Sequence[float] | None) -> float:
    """The number that all scales have; 0, the model's own, where they differ."""
    return values[0] if values and len(set(values)) == 1 else 0.0


def _plan(request: Mapping[str, Any]) -> dict[str, Any]:
    """The planner's inputs; none where the sampler is to choose, or where a file was the plan.

    Members of a group are named twice, as servers with dynamic inputs call them and as others do:
    each takes what it knows.
    """
    strategy = request["plan"]
    if strategy == AUTO or strategy not in names():
        return {}
    target, inputs = "manual", dict[str, Any]()
    for name, words in (("speedup", "speed-up"), ("budget", "compute budget")):
        if name in request:
            target = words
            inputs[f"target.{name}"] = request[name]
    for known, value in _settings(strategy, request):
        inputs[f"strategy.{strategy}_{known.name}"] = _shown(known, value)
    plain = {"speedup": 1.5, "budget": 0.6, **{
        name.partition(".")[2]: value for name, value in inputs.items()}}
    return {"strategy": strategy, "target": target, **inputs, **plain}


def _settings(strategy: str, request: Mapping[str, Any]) -> Iterator[tuple[Known, Any]]:
    """The settings that the planner has inputs for; what was left open, it leaves open as well."""
    method = get_strategy(strategy)
    options = {known.name: known for known in options_of(method)}
    values = {name: value_of(options[name], request[name]) for name in options if name in request}
    values |= {one.name: request[one.name] for one in method.shorthands if one.name in request}
    settings = settings_of(method, values)
    for name, known in options.items():
        value = getattr(settings, name)
        if known.option.node and value is not None:
            yield known, value


def _shown(known: Known, value: Any) -> Any:
    """A setting as its input takes it."""
    if known.kind is tuple:
        return ", ".join(f"{number:g}" for number in value)
    return known.option.labels.get(value, value) if known.choices else value
