"""Sound files of every kind that the project reads, small and the same at every run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.random_shortcuts import random_shortcuts
from tests.checkpoints.official_format import official_state, official_vae, write_shards
from tests.entropy.make import make_trace
from tests.tiny import WORDS, tiny_pipeline
from toprovar.evaluation.compositional import bundled_prompts, write_prompts
from toprovar.files import DATA
from toprovar.models.fingerprint import model_fingerprint
from toprovar.picture_files import save_picture
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.plan_file import plan_to_json, save_plan

SCHEDULE = get_schedule("1.0", "0.06M")


def make_originals(folder: Path) -> Any:
    """Write one file or folder of each kind into ``folder``; the small random pipeline, which is
    that of the folder "model"."""
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(folder / "model")
    shutil.copytree(folder / "model", folder / "model-bin")
    encoder = folder / "model-bin" / "text_encoder"
    (encoder / "model.safetensors").unlink()
    torch.save(pipeline.text_encoder.state_dict(), encoder / "pytorch_model.bin")
    _plans(folder, pipeline)
    _measurements(folder, pipeline)
    _checkpoints(folder)
    lines = [f"a {colour} {thing}" for colour in WORDS[2:4] for thing in WORDS[4:8]]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_prompts(folder / "prompts.json", bundled_prompts()[:3])
    return pipeline


def _plans(folder: Path, pipeline: Any) -> None:
    plan = make_plan(pipeline, "fastvar", SCHEDULE)
    assert isinstance(plan, SparsityPlan)
    save_plan(plan, folder / "plan.json")
    save_picture(Image.new("RGB", (16, 16)), folder / "plan.png",
             {"prompt": "a cat", "seed": 1, "sparsity_plan": plan_to_json(plan)})


def _measurements(folder: Path, pipeline: Any) -> None:
    """What is measured or fitted once for a model."""
    for name in ("calibrations/infinity-emoji.json", "prior.json"):
        shutil.copyfile(DATA / name, folder / f"{Path(name).parent.name or 'own'}.json")
    shutil.copyfile(DATA / "skipvar" / "infinity-emoji.json", folder / "decisions.json")
    linear_shortcuts = [LinearShortcut(s - 1, s, 1) for s in (4, 5)]
    shape = pipeline.transformer.shape
    for name, eight_bits in (("shortcuts", True), ("old_shortcuts", False)):
        random_shortcuts(model_fingerprint(pipeline.transformer), shape, linear_shortcuts,
                         eight_bits=eight_bits).save(folder / f"{name}.safetensors")
    make_trace(images=1, depth=2).save(folder / "trace.safetensors")


def _checkpoints(folder: Path) -> None:
    """Official files, as single files, as shards and with what training adds."""
    state, vae = official_state(depth=2), official_vae(base=32, blocks=1)
    torch.save(state, folder / "official.pth")
    torch.save({"trainer": {"gpt_fsdp": state, "gpt_ema_fsdp": state}, "epoch": 3,
                "args": {"lr": 0.1}}, folder / "training.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"vae": vae, "ema": vae}, folder / "vae.pth")
    save_file(state, folder / "official.safetensors")
    write_shards(folder / "shards", state, count=2)
