"""The model in the box: it loads like a user's, and draws what it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from toprovar import InfinityPipeline, bundled_model
from toprovar.checkpoints.convert import convert
from toprovar.evaluation.compositional import Judge, bundled_prompts
from toprovar.schedules import get_schedule

MOST_BYTES = 48 * 10**6


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_size_and_notice() -> None:
    folder = bundled_model()
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= MOST_BYTES
    assert "Copyright (c) Microsoft Corporation" in (folder / "NOTICE.md").read_text("utf-8")
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    assert index["transformer"][0] == "toprovar.models.transformer"


def test_prompts_are_followed(pipeline: InfinityPipeline) -> None:
    """Single objects and colours, by the judge; an untrained or broken model scores 0 or so."""
    prompts = bundled_prompts("seen", "single")[:6] + bundled_prompts("seen", "colours")[:6]
    images = pipeline(
        [p.text for p in prompts], seed=[7] * len(prompts), schedule=get_schedule("1.0", "0.06M"),
        output_type="pt",
    ).images
    judge = Judge.load()

    def passed(asked: list) -> int:
        return sum(r.verdict.passed for r in judge.results(images.clamp(0, 1), asked))

    assert passed(prompts) >= 10
    # The same pictures under one another's prompts
    assert passed(prompts[5:] + prompts[:5]) <= 3


def test_diffusers_loads_it_too(pipeline: InfinityPipeline) -> None:
    loaded = InfinityPipeline.from_pretrained(
        bundled_model(), torch_dtype=torch.float32, local_files_only=True
    )
    loaded.set_progress_bar_config(disable=True)
    how = {"seed": 3, "output_type": "latent", "schedule": get_schedule("1.0", "0.06M")}
    assert torch.equal(pipeline("a red apple", **how).images, loaded("a red apple", **how).images)


def test_it_has_the_official_format(tmp_path: Path) -> None:
    """Converted to official names and back it is the same model: there is no special path."""
    convert([bundled_model()], tmp_path / "official")
    parts = [tmp_path / "official" / "transformer.pth", tmp_path / "official" / "vae.pth"]
    convert([*parts, bundled_model() / "text_encoder", bundled_model() / "tokenizer"],
            tmp_path / "again")
    for name in ("transformer", "vae"):
        file = Path(name) / "diffusion_pytorch_model.safetensors"
        before, after = load_file(bundled_model() / file), load_file(tmp_path / "again" / file)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)
