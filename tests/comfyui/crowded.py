"""Run by ComfyUI's Python: how its memory manager shares out a card between a model of ours and
another one.

    crowded.py COMFYUI PACK

There is no card: the manager is told that the CPU is one of CARD bytes, and what of them is free
is counted from what models say they hold. Its decisions are its own. Prints facts as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from math import ceil
from pathlib import Path
from typing import Any

from manager import NAME, OWN, load_pack

MB = 1 << 20
CARD = 400 * MB
OTHER = 200 * MB


def main(comfyui: str, pack: Path) -> None:
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, comfyui)
    importlib.import_module("comfy.options").enable_args_parsing()
    manager: Any = importlib.import_module("comfy.model_management")
    patcher: Any = importlib.import_module("comfy.model_patcher")
    importlib.import_module("folder_paths")
    nodes = load_pack(pack)

    import torch

    engine: Any = importlib.import_module(f"{NAME}.toprovar.memory.yielding")
    pretend(manager, torch)

    class Other(patcher.ModelPatcher):
        """A model of somebody else, which gives away what it is asked for, as a dynamic one."""

        held = 0

        def is_dynamic(self) -> bool:
            return True

        def loaded_size(self) -> int:
            return self.held

        def loaded_ram_size(self) -> int:
            return OTHER - self.held

        def partially_load(self, device_to: Any, extra_memory: float = 0, *more: Any,
                           **named: Any) -> int:
            self.held = OTHER
            return OTHER

        def partially_unload(self, device_to: Any, memory_to_free: float = 0, *more: Any,
                             **named: Any) -> int:
            gone = min(self.held, ceil(memory_to_free))
            self.held -= gone
            return gone

        def detach(self, unpatch_all: bool = True) -> Any:
            self.held = 0 if unpatch_all else self.held
            return self.model

    def loads() -> Any:
        other = Other(torch.nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu"), OTHER)
        manager.load_models_gpu([other])
        return other

    def draw(model: Any) -> Any:
        done = nodes["Sampler"].execute(model, text, 7, 1, "1:1", "0.06M", 0.0, 0.0, 0.97, "off",
                                        False)
        return done.args[0], str(done.args[2])

    with torch.inference_mode():
        model, encoder, _ = nodes["LoadInfinity"].execute(
            "infinity-emoji (embedded)", OWN, OWN, "auto", "auto", "auto").args
        text = nodes["TextEncode"].execute(encoder, "a red apple", False).args[0]
        expected, _ = draw(model)
        net, facts = model.pipeline.transformer, {}
        card_and_host(engine, model.residing)
        manager.unload_all_models()
        weights = engine.weight_bytes(net)

        # Room for both: nobody goes.
        other = loads()
        same, _ = draw(model)
        facts["kept where there is room"] = other.held == OTHER

        # Too little for both: the other one gives away what is missing.
        manager.unload_all_models()
        other = loads()
        wanted = asked_for(manager, lambda: draw(model))
        card(manager, OTHER + wanted - 20 * MB)
        manager.unload_all_models()
        other = loads()
        again, _ = draw(model)
        facts["given away"] = (OTHER - other.held) / MB

        # The other one comes while ours is there: blocks go, as many as that takes.
        card(manager, CARD)
        manager.unload_all_models()
        draw(model)
        here = model.transformer.patcher.loaded_size()
        card(manager, int(1.1 * OTHER) + here * 2 // 3 + model.vae.patcher.loaded_size())
        loads()
        left = model.transformer.patcher.loaded_size()
        facts["left of ours"], facts["weights"] = left / here, weights
        facts["streamed"] = engine.streamed_count(net)
        back, _ = draw(model)
        facts["alike"] = all(torch.equal(one, expected) for one in (same, again, back))

        # A plan that streams most of the model: room is made for what it will have there.
        card(manager, CARD)
        manager.unload_all_models()
        other = loads()
        card(manager, OTHER)
        share = weights // 4
        model._load([model.transformer], 0, share)
        facts["given to a streamed one"] = (OTHER - other.held) / share
        facts["said of it afterwards"] = model.transformer.patcher.loaded_size()
    print(json.dumps(facts))  # noqa: T201  # for the test


def card_and_host(engine: Any, residing: Any) -> None:
    """Weights that left the card lie in the same memory here, but are not on it."""
    counted, leave, take, bring = engine.bytes_on, engine.leave, engine.take, residing._bring
    there = True

    def bytes_on(*given: Any) -> int:
        return counted(*given) if there else 0

    def leaving(*given: Any) -> None:
        nonlocal there
        leave(*given)
        there = False

    def taking(*given: Any) -> int:
        nonlocal there
        there = True
        return take(*given)

    def bringing(*given: Any) -> None:
        nonlocal there
        there = True
        bring(*given)

    engine.bytes_on, engine.leave, engine.take = bytes_on, leaving, taking
    residing._bring = bringing


def asked_for(manager: Any, work: Any) -> int:
    """Bytes that the manager is to free for some work, at most."""
    asked, free = [0], manager.free_memory

    def listening(wanted: float, *more: Any, **named: Any) -> Any:
        asked.append(int(wanted))
        return free(wanted, *more, **named)

    manager.free_memory = listening
    work()
    manager.free_memory = free
    return max(asked)


def pretend(manager: Any, torch: Any) -> None:
    """The manager takes the CPU for a card."""

    class Torch:
        """For the comparisons of load_models_gpu with the CPU, which has no memory of its own."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def device(self, name: Any, *more: Any) -> Any:
            asked_by = sys._getframe(1).f_code.co_name
            return torch.device("meta" if asked_by == "load_models_gpu" else name, *more)

    manager.torch = Torch()
    manager.minimum_inference_memory = lambda: 0
    manager.EXTRA_RESERVED_VRAM = 0
    manager.soft_empty_cache = lambda *_: None
    card(manager, CARD)


def card(manager: Any, size: int) -> None:
    def free(_device: Any = None, torch_free_too: bool = False) -> Any:
        held = sum(known.model.loaded_size() for known in manager.current_loaded_models
                   if known.model is not None)
        left = max(0, size - held)
        return (left, 0) if torch_free_too else left

    manager.get_free_memory = free


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
