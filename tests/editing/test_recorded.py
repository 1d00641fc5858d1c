"""Edits whose scales are recorded: masks change from picture to picture, the recordings do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tests.editing.test_inpaint import SMALL, picture, square
from tests.sampling.conftest import device as device
from tests.sampling.test_graphs import sparse_plan
from tests.tiny import tiny_pipeline
from toprovar.editing.edit import Region
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling import workspace
from toprovar.sampling.params import EngineOptions
from toprovar.sparsity.strategies.fastervar import fastervar_plan
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.window import window_plan

REGION = Region(whole_until=8)


@pytest.fixture
def pipeline(device: str) -> Iterator[InfinityPipeline]:
    found = tiny_pipeline(depth=4, block_chunks=2)
    for part in (found.transformer, found.vae):
        nn.Module.to(part, device)
    yield found
    workspace.release(found.transformer)


def inpainted(pipeline: InfinityPipeline, graphs: bool, mask: Any, seed: int = 1, **call: Any
              ) -> tuple[torch.Tensor, int]:
    done = pipeline.inpaint(
        picture(), mask, "a cat", seed=seed, output_type="latent", region=REGION,
        options=EngineOptions(graphs=graphs, fused=True), **call)
    return done.images, done.report.replayed_scales


@pytest.mark.parametrize("name", ["dense", "identity", "cached", "exit", "random", "variance",
                                  "mixtures", "bounded", "window"])
def test_a_replayed_edit_works_inside_its_own_mask(pipeline: InfinityPipeline, name: str) -> None:
    shape = pipeline.transformer.shape
    plans: dict[str, Any] = {
        "dense": None, "identity": sparse_plan(pipeline.transformer, "identity"),
        "cached": sparse_plan(pipeline.transformer, "cached", unguided=1),
        "exit": sparse_plan(pipeline.transformer, "exit", unguided=2),
        "random": sparse_plan(pipeline.transformer, "identity", "random"),
        "variance": sparse_plan(pipeline.transformer, "cached", "variance"),
        "mixtures": fastervar_plan(shape, SMALL, "0.85", skipped=0, guided=True),
        "bounded": scalekv_plan(shape, SMALL, 0.3),
        "window": window_plan(shape, SMALL, 1, 3, 2, 1.0),
    }
    masks = square(256, 64, 64, 64), square(256, 128, 16, 64), square(256, 64, 176, 64)
    for i, mask in enumerate(masks):
        found, replayed = inpainted(pipeline, True, mask, seed=i, plan=plans[name])
        plain, _ = inpainted(pipeline, False, mask, seed=i, plan=plans[name])
        torch.testing.assert_close(found, plain)
        assert replayed == (7 if i else 0)


def test_edits_and_pictures_share_no_scale_that_differs(pipeline: InfinityPipeline) -> None:
    """A plan that happens to keep as many tokens as a region's is not taken for it."""
    mask = square(256, 64, 64, 64)
    inpainted(pipeline, True, mask)
    restricted = pipeline.inpaint(picture(), mask, "a cat", seed=1, output_type="latent",
                                  region=REGION).report.used_plan
    how: dict[str, Any] = {"seed": 1, "output_type": "latent", "plan": restricted}
    found = pipeline("a cat", options=EngineOptions(graphs=True, fused=True), **how)
    plain = pipeline("a cat", options=EngineOptions(graphs=False, fused=True), **how)
    torch.testing.assert_close(found.images, plain.images)


def test_three_kinds_of_rows_are_recorded(pipeline: InfinityPipeline) -> None:
    mask = square(256, 64, 64, 64)
    for guidance in (3.0, [1.0] * 3 + [3.0] * 4, 1.0):
        how: dict[str, Any] = {"source_prompt": "a dog", "away": 1.0, "guidance_scale": guidance}
        for seed in (1, 2):
            found, _ = inpainted(pipeline, True, mask, seed, **how)
            torch.testing.assert_close(found, inpainted(pipeline, False, mask, seed, **how)[0])


def test_finished_drafts_are_replayed(pipeline: InfinityPipeline) -> None:
    options = EngineOptions(graphs=True, fused=True)
    whole = pipeline("a cat", seed=4, output_type="latent", options=options)
    draft = pipeline.draft("a cat", seed=4, until=8, options=options)
    finished = pipeline.finish(draft, output_type="latent", options=options)
    assert torch.equal(finished.images, whole.images) and finished.report.replayed_scales == 7
