"""Where in a file the model is: wrappers such as ``trainer.gpt_fsdp.`` or ``module.``."""

from __future__ import annotations

from collections.abc import Iterable

CONTAINERS = (
    "trainer", "gpt_fsdp", "gpt_wo_ddp", "vae", "state_dict", "model_state_dict", "base_model",
    "model", "diffusion_model", "module", "gpt", "transformer", "infinity",
)
"""Names that hold the model, tried in this order at every level. None is a module of a model."""

EMA = ("ema", "gpt_ema_fsdp", "gpt_ema_for_vis")
"""Containers of averaged weights, opened only on request."""

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that only tell how the model was wrapped when it was saved."""


def find_model(names: Iterable[str], ema: bool = False) -> tuple[dict[str, str], list[str]]:
    """Takes off containers and wrappers.

    Returns:
        The model's names, each with its name in the file, and the file's other names.

    Raises:
        KeyError: there are no weights of the kind asked for, plain or averaged.
        ValueError: two names become one; the message is the name.
    """
    names = list(names)
    inside = {name: name for name in names}  # rest of the name -> name in the file
    while True:
        heads = {rest.partition(".")[0] for rest in inside if "." in rest}
        if not ema and heads and heads <= set(EMA):
            raise KeyError("plain")
        wanted = (*EMA, *CONTAINERS) if ema else CONTAINERS
        container = next((c for c in wanted if c in heads), None)
        if container is None:
            break
        ema = ema and container not in EMA
        cut = len(container) + 1
        inside = {
            rest[cut:]: name for rest, name in inside.items() if rest.startswith(container + ".")
        }
    if ema:
        raise KeyError("averaged")
    model: dict[str, str] = {}
    for rest, name in inside.items():
        clean = ".".join(part for part in rest.split(".") if part not in _WRAPPERS)
        if clean in model:
            raise ValueError(clean)
        model[clean] = name
    chosen = set(model.values())
    return model, [name for name in names if name not in chosen]
