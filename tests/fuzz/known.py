"""Faults that are known and not mended yet; the aim is that there are none.

An entry is a part of "KIND: OUTCOME, DETAIL" as ``python -m tests.fuzz`` prints it, and why it is
still there.
"""

from __future__ import annotations

from .cases import Result

KNOWN: dict[str, str] = {
    "models/text_encoder.py": "text encoders and tokenizers are not checked before transformers",
    "pipeline.py:from_folder": "model_index.json is taken as it is",
    "cli/plan_options.py:read_plan": "pictures are not checked before Pillow",
    "cli/analyze.py:_prompts": "a file of prompts that is no text",
    "sparsity/shortcuts.py": "odd names of tensors, and messages that quote them whole",
    "skipvar_decision.py:_parse": "a number of more digits than Python reads",
    "sparsity/prior.py:load": "pydantic's own message of several lines",
    "pipeline call: ": "types and ranges of arguments are not checked first",
    "sampling/params.py": "the same of defaults in model_index.json",
    "AssertionError in ?": "weights that are NaN or infinite are taken",
    "models/text_runner.py:encode": "--device meta",
    "command plan: an error of the system": "files that are missing or cannot be read",
}


def is_known(result: Result) -> bool:
    told = f"{result.kind}: {result.outcome}, {result.detail}"
    return any(text in told for text in KNOWN)
