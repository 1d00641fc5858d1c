"""Run by ComfyUI's Python: what its memory manager sees of a model, and what it does to it.

    manager.py COMFYUI PACK [ARGUMENT ...]

Arguments are ComfyUI's own; without any it works on the CPU. Prints facts as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import sys
import weakref
from pathlib import Path
from typing import Any

NAME = "custom_nodes/pack"
OWN = "the model's own"


def main(comfyui: str, pack: Path, arguments: list[str]) -> None:
    sys.argv = ["main.py", *(arguments or ["--cpu"])]
    sys.path.insert(0, comfyui)
    importlib.import_module("comfy.options").enable_args_parsing()
    manager: Any = importlib.import_module("comfy.model_management")
    importlib.import_module("folder_paths")
    nodes = load_pack(pack)

    import torch

    engine: Any = importlib.import_module(f"{NAME}.toprovar.memory.yielding")
    allowance: Any = importlib.import_module(f"{NAME}.toprovar.memory.request").Allowance
    facts: dict[str, Any] = {}
    model: Any
    patcher: Any
    net: Any

    def load(memory: str) -> tuple[Any, Any]:
        model, text, _ = nodes["LoadInfinity"].execute(
            "infinity-emoji (embedded)", OWN, OWN, "auto", "auto", memory).args
        return model, nodes["TextEncode"].execute(text, "a red apple", False).args[0]

    def draw(images: int = 1) -> tuple[Any, Any]:
        done = nodes["Sampler"].execute(model, text, 7, images, "1:1", "0.06M", 0.0, 0.0, 0.97,
                                        "off", False)
        return done.args[0], done.args[2]

    def state() -> dict[str, int]:
        return {"size": patcher.model_size(), "loaded": patcher.loaded_size(),
                "streamed": engine.streamed_count(net)}

    def entry() -> Any:
        return next((m for m in manager.current_loaded_models if m.model is patcher), None)

    with torch.inference_mode():
        model, text = load("auto")
        expected, _ = draw()
        patcher, net = model.transformer.patcher, model.pipeline.transformer
        facts["whole"] = state()
        # The manager needs a third of it for somebody else, and gives a part of that back.
        third = patcher.loaded_size() // 3
        facts["gone"] = entry().model_unload(third)
        if facts["gone"]:  # with --highvram, which keeps networks whole; the manager forgets it
            manager.current_loaded_models.remove(entry())
        else:
            facts["fewer"] = state()
            facts["streamed alike"] = torch.equal(bare(model, text), expected)
            facts["taken"] = entry().model_use_more_vram(third // 2)
            facts["more"] = state()
            facts["given away by force"] = entry().model_use_more_vram(-third)
            facts["least"] = state()
            facts["too much"] = patcher.partially_unload(patcher.offload_device, 1 << 40)
            facts["untouched"] = state() == facts["least"]
        facts["alike"] = torch.equal(draw()[0], expected)
        facts["back"] = state()
    manager.unload_all_models()  # as the queue does it: not in inference mode
    facts["unloaded"] = entry() is None
    with torch.inference_mode():
        facts["alike again"] = torch.equal(draw()[0], expected)

        # Nobody keeps a model that is used no more.
        gone, name = weakref.ref(net), type(patcher.model).__name__
        model = patcher = net = None
        gc.collect()
        manager.cleanup_models()
        facts["kept"] = gone() is not None or name in [
            type(m.real_model()).__name__ for m in manager.current_loaded_models]

        # A limit that the cache, streamed blocks and fewer images at once must meet.
        model, text = load("6GB")
        several, report = draw(3)
        facts["together"] = [run.images for run in report.runs]
        alone, report = draw()
        facts["roomy"] = str(report)
        share = 1.0 if patcher_device(model).type == "cuda" else 0.74  # the decoder is most of it
        some = int(share * model.residing.plan.peak)
        model.residing.allowance = allowance.parse(f"{some // 1_000_000 + 1}MB exact")
        tight, report = draw()
        facts["tight"], facts["tight alike"] = str(report), torch.equal(tight, alone)
        apart, report = draw(3)
        facts["apart"] = [run.images for run in report.runs]
        facts["apart in words"] = str(report)
        facts["apart off"] = float((apart - several).abs().max())
        facts["of runs"] = [report.run_of(image) for image in range(3)]
        del report

        # What cannot fit is refused, and nothing stays behind.
        model.residing.allowance = allowance.parse("20MB exact")
        before = held(torch)
        try:
            draw()
        except manager.OOM_EXCEPTION as error:
            facts["refused"] = str(error)
        facts["left behind"] = held(torch) - before
        model.residing.allowance = allowance.parse("6GB")
        facts["after"] = torch.equal(draw()[0], alone)
    print(json.dumps(facts))  # noqa: T201  # for the test


def patcher_device(model: Any) -> Any:
    return model.transformer.patcher.load_device


def bare(model: Any, text: Any) -> Any:
    """A picture with the blocks where they are, whatever the residency would do."""
    host: Any = importlib.import_module(f"{NAME}.nodes.support.host")
    pipeline, residing = model.pipeline, model.pipeline.residency
    pipeline.residency = None
    runs: Any = importlib.import_module(f"{NAME}.nodes.support.runs")
    sizes: Any = importlib.import_module(f"{NAME}.toprovar.schedules")
    schedule = sizes.get_schedule("1.0", "0.06M")
    done = pipeline(prompt_features=text.features, seed=7, schedule=schedule, top_p=0.97,
                    plan=runs.run_plan(model, None, schedule, True), options=model.options,
                    output_type="pt")
    pipeline.residency = residing
    return host.unit_to_comfy(done.images)


def held(torch: Any) -> int:
    """Bytes of all tensors that anybody holds."""
    gc.collect()
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
             for t in gc.get_objects() if issubclass(type(t), torch.Tensor)}
    return sum(found.values())


def load_pack(pack: Path) -> dict[str, Any]:
    """The pack's nodes, without their prefix, loaded as ComfyUI does it."""
    spec: Any = importlib.util.spec_from_file_location(NAME, pack / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    entry: Any = asyncio.run(module.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id.removeprefix("ToProVAR_"): node
            for node in asyncio.run(entry.get_node_list())}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
