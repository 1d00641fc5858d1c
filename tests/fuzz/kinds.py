"""Kinds of files, how each is damaged, and what reads it.

A reader does what somebody's program would: it reads, and uses what it has read.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from toprovar import Calibration, EntropyTrace, InfinityPipeline
from toprovar.checkpoints import convert, load_autoencoder, load_transformer
from toprovar.cli import analyze
from toprovar.cli.measuring import given_prompts
from toprovar.cli.plan_options import read_plan
from toprovar.evaluation.compositional import read_prompts
from toprovar.sparsity.plan_table import plan_table
from toprovar.sparsity.prior import Prior
from toprovar.sparsity.shortcuts import Shortcuts
from toprovar.sparsity.strategies.skipvar.decision import DecisionModels

from . import mutate
from .originals import SCHEDULE

Damage = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        path: of the sound one, below the folder of originals; of a folder of files the file too.
        damage: bytes of a sound file to those of a damaged one.
        read: given the damaged file (or its folder), and the small pipeline.
        top: the file or folder that ``read`` is given, where it is not ``path`` itself.
        weight: how often, against the others.
    """

    path: str
    damage: Damage
    read: Callable[[Path, Any], object]
    top: str | None = None
    weight: float = 1.0


def prepare(kind: Kind, originals: Path, place: Path, rng: Random) -> Path:
    """Put the damaged file, with the folder it is part of, into ``place``; what to read."""
    top = kind.top or kind.path
    if kind.top:
        shutil.copytree(originals / top, place / top, copy_function=_link)
    target = place / kind.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if kind.top and rng.random() < 0.08:
        return place / top  # the file is missing
    target.write_bytes(kind.damage((originals / kind.path).read_bytes(), rng))
    return place / top


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def _plan(path: Path, pipeline: Any) -> None:
    plan = read_plan(path)
    plan_table(plan)
    try:
        plan.check_fits(pipeline.transformer.shape, SCHEDULE)
    except ValueError:
        return  # a sound plan for another model
    pipeline("a red cat", plan=plan, schedule=SCHEDULE, seed=1, output_type="latent")


def _calibration(path: Path, pipeline: Any) -> None:
    Calibration.load(path).entry(SCHEDULE)


def _decisions(path: Path, pipeline: Any) -> None:
    found = DecisionModels.load(path)
    if len(found.root) == 1:
        found.pick(SCHEDULE)[0].decide((0.1, 0.5))


def _trace(path: Path, pipeline: Any) -> None:
    EntropyTrace.load(path)


def _prompt_lines(path: Path, pipeline: Any) -> None:
    parser = argparse.ArgumentParser()
    analyze.add_arguments(parser)
    pipeline.encode_prompt(given_prompts(parser.parse_args(["--prompts", str(path)]))[:20])


def _model(path: Path, pipeline: Any) -> None:
    found = InfinityPipeline.from_folder(path, torch.float32)
    found.set_progress_bar_config(disable=True)
    for part in (found.transformer, found.vae, found.text_encoder):
        assert all(bool(p.isfinite().all()) for p in part.parameters()), "NaN or inf as weights"
    found("a red cat", seed=1, schedule=SCHEDULE, output_type="latent")


def _transformer(path: Path, pipeline: Any) -> None:
    load_transformer(path, torch.float32)


def _autoencoder(path: Path, pipeline: Any) -> None:
    load_autoencoder(path, torch.float32)


def _convert(path: Path, pipeline: Any) -> None:
    convert([path], path.parent / "converted")


def _within_model(path: str, damage: Damage, weight: float = 1.0) -> Kind:
    return Kind(f"model/{path}", damage, _model, "model", weight)


WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES: dict[str, Kind] = {
    "plan": Kind("plan.json", mutate.damage_json, _plan, weight=3),
    "plan in a picture": Kind("plan.png", mutate.damage_png, _plan, weight=3),
    "calibration": Kind("calibrations.json", mutate.damage_json, _calibration, weight=2),
    "prior": Kind("own.json", mutate.damage_json, lambda path, _: Prior.load(path), weight=0.5),
    "shortcuts": Kind("shortcuts.safetensors", mutate.damage_safetensors,
                      lambda path, _: Shortcuts.load(path), weight=2),
    "shortcuts of 16 bits": Kind("old_shortcuts.safetensors", mutate.damage_safetensors,
                                 lambda path, _: Shortcuts.load(path)),
    "decision models": Kind("decisions.json", mutate.damage_json, _decisions, weight=2),
    "trace": Kind("trace.safetensors", mutate.damage_safetensors, _trace, weight=2),
    "prompts, lines": Kind("prompts.txt", mutate.damage_text, _prompt_lines),
    "prompts, JSON": Kind("prompts.json", mutate.damage_json, lambda path, _: read_prompts(path)),
    "model_index.json": _within_model("model_index.json", mutate.damage_json, 2),
    "transformer/config.json": _within_model("transformer/config.json", mutate.damage_json, 2),
    "vae/config.json": _within_model("vae/config.json", mutate.damage_json, 2),
    "text_encoder/config.json": _within_model("text_encoder/config.json", mutate.damage_json, 2),
    "tokenizer.json": _within_model("tokenizer/tokenizer.json", mutate.damage_json, 2),
    "tokenizer_config.json": _within_model("tokenizer/tokenizer_config.json", mutate.damage_json,
                                           2),
    "transformer": _within_model(f"transformer/{WEIGHTS}", mutate.damage_weights),
    "vae": _within_model(f"vae/{WEIGHTS}", mutate.damage_weights),
    "text encoder": _within_model("text_encoder/model.safetensors", mutate.damage_weights, 2),
    "official .pth": Kind("official.pth", mutate.damage_zip, _transformer, weight=2),
    "official .pth, old form": Kind("old.pth", mutate.damage_bytes, _transformer),
    "training .pth": Kind("training.pth", mutate.damage_zip, _transformer),
    "VAE .pth": Kind("vae.pth", mutate.damage_zip, _autoencoder),
    "converted .pth": Kind("official.pth", mutate.damage_zip, _convert),
    "official safetensors": Kind("official.safetensors", mutate.damage_safetensors, _transformer),
    "index of shards": Kind("shards/model.safetensors.index.json", mutate.damage_json, _transformer,
                            "shards"),
    "text encoder .bin": Kind("model-bin/text_encoder/pytorch_model.bin", mutate.damage_zip, _model,
                              "model-bin"),
}
