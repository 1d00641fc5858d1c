"""Workflows in API form, small enough to run in a second."""

from __future__ import annotations

from typing import Any

Prompt = dict[str, Any]

EMBEDDED = {
    "model": "infinity-emoji (embedded)", "vae": "the model's own",
    "text_encoder": "the model's own", "dtype": "auto", "attention": "auto",
}
SAMPLER = {
    "seed": 7, "images": 1, "aspect": "1:1", "pixels": "0.06M", "cfg": 0.0, "tau": 0.0,
    "top_p": 0.97, "preview": "decoded", "overlay": False,
}
PLANNER = {
    "strategy": "dense", "target": "manual", "speedup": 1.5, "budget": 0.6, "aspect": "1:1",
    "pixels": "0.06M", "toprovar_planned": "in the run", "toprovar_alpha_min": 0.0,
    "toprovar_alpha_max": 0.9, "toprovar_start_scale": 0, "fastvar_drop": "0.4, 0.5, 1",
    "skipvar_policy": "skip last scales", "skipvar_scales": 1, "toprovar_dropped": "by calibration",
    "toprovar_resize": "bilinear", "toprovar_rule": "by calibration", "toprovar_dimensions": "all",
    "toprovar_region": 8, "toprovar_min_share": 0.25, "toprovar_tile": 16,
    "toprovar_unconditional_off": -1, "toprovar_seed": 0, "guided": True, "edits": "",
}

CALIBRATE = {
    "minutes": 0.5, "seed": 1, "aspect": "1:1", "pixels": "0.06M", "target": 0.95, "resume": True,
}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def own(kind: str, **inputs: Any) -> dict[str, Any]:
    return node(f"ToProVAR_{kind}", **inputs)


def model_and_text(text: str = "a red apple") -> Prompt:
    """Nodes "load" and "text"."""
    return {
        "load": own("LoadInfinity", **EMBEDDED),
        "text": own("TextEncode", text_encoder=["load", 1], text=text, prompt_per_line=False),
    }


def sampler(**changes: Any) -> dict[str, Any]:
    return own("Sampler", **(
        {**SAMPLER, "model": ["load", 0], "conditioning": ["text", 0]} | changes
    ))


def planner(**changes: Any) -> dict[str, Any]:
    return own("SparsityPlanner", **({**PLANNER, "model": ["load", 0]} | changes))


def calibrated(**changes: Any) -> Prompt:
    """A sampler behind a calibration."""
    return {
        **quick_start(model=["calibrate", 0]),
        "calibrate": own("CalibrateInfinity", **(
            {**CALIBRATE, "model": ["load", 0], "text_encoder": ["load", 1]} | changes)),
    }


def quick_start(text: str = "a red apple", **changes: Any) -> Prompt:
    """Load, encode, sample and save: the file's prefix is "quick"."""
    return {
        **model_and_text(text),
        "sample": sampler(**changes),
        "save": node("SaveImage", images=["sample", 0], filename_prefix="quick"),
    }


def planned(plan: dict[str, Any], **changes: Any) -> Prompt:
    """The quick start under a plan."""
    return {**quick_start(plan=["plan", 0], **changes), "plan": planner(**plan)}
