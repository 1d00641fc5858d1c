"""Finished drafts are bit for bit the pictures drawn at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.sampling.plans import index_plan
from tests.sparsity.test_toprovar import NO_REGIONS, calibration
from tests.tiny import tiny_pipeline
from toprovar.editing.draft import Draft, Recorder, last_scale
from toprovar.editing.draft_file import (
    draft_from_bytes,
    draft_to_bytes,
    load_draft,
    save_draft,
    save_draft_picture,
)
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SMALL = get_schedule("1.0", "0.06M")
PROMPTS = ["a red apple", "a cat and a dog"]


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def at_once(pipeline: InfinityPipeline, **call: Any) -> torch.Tensor:
    return pipeline(output_type="latent", **call).images


@pytest.mark.parametrize("pn", ["0.06M", "0.25M"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_finished_draft_is_the_picture_drawn_at_once(pipeline: InfinityPipeline, pn: str,
                                                       guidance: float) -> None:
    how: dict[str, Any] = {"schedule": get_schedule("1.0", pn), "guidance_scale": guidance}
    whole = at_once(pipeline, prompt=PROMPTS, seed=5, num_images_per_prompt=2, **how)
    draft = pipeline.draft(PROMPTS, seed=5, num_images_per_prompt=2, until=8, **how)
    assert draft.done == 5 and len(draft) == 4 and not draft.finished
    assert draft.prompts == tuple(p for p in PROMPTS for _ in range(2))
    assert draft.seeds == (5, 6, 7, 8)
    assert torch.equal(pipeline.finish(draft, output_type="latent").images, whole)
    some = pipeline.finish(draft, which=[3, 1], output_type="latent").images
    assert torch.equal(some, whole[[3, 1]])


def test_a_draft_runs_no_more_scales_than_it_needs(pipeline: InfinityPipeline) -> None:
    seen: list[int] = []
    pipeline.draft("a cat", until=4, on_scale=lambda state: seen.append(state.index))
    assert seen == [0, 1, 2]
    assert pipeline.draft("a cat", until=None).finished


@pytest.mark.parametrize("strategy", ["toprovar", "fastvar", "fastervar", "ldpruning", "stop",
                                      "window", "scalekv"])
def test_a_draft_of_any_plan_finishes_as_the_picture(pipeline: InfinityPipeline, strategy: str
                                                     ) -> None:
    schedule = get_schedule("1.0", "0.25M")
    try:
        plan = make_plan(pipeline, strategy, schedule)
    except ValueError as error:
        pytest.skip(f"{strategy} does not plan for a model this small: {error}")
    prompts = PROMPTS[:1] if plan.adaptive else PROMPTS
    how: dict[str, Any] = {"seed": 3, "schedule": schedule, "plan": plan}
    draft = pipeline.draft(prompts, until=20, **how)
    draft = draft_from_bytes(draft_to_bytes(draft))
    finished = pipeline.finish(draft, output_type="latent",
                               plan=plan if plan.adaptive else None).images
    assert torch.equal(finished, at_once(pipeline, prompt=prompts, **how))


@pytest.mark.parametrize("until", [4, 6, 12])
@pytest.mark.parametrize("dropped", ["identity", "cached"])
def test_a_plan_made_in_the_run_is_made_again(pipeline: InfinityPipeline, dropped: str, until: int
                                              ) -> None:
    """It sees the same entropies and codes, whether its decisions fall before the draft's last
    scale or after it."""
    plan = ToProVar(ToProVarSettings(dropped=dropped, planned="run", **NO_REGIONS),  # type: ignore[arg-type]
                    calibration())
    assert plan.adaptive
    how: dict[str, Any] = {"seed": 3, "schedule": SMALL, "plan": plan}
    draft = pipeline.draft(PROMPTS, until=until, **how)
    assert draft.planner == plan.name and draft.plan is None
    with pytest.raises(ValueError, match="plans inside the run"):
        pipeline.finish(draft)
    finished = pipeline.finish(draft, plan=plan, output_type="latent").images
    whole = pipeline(PROMPTS, output_type="latent", **how)
    assert torch.equal(finished, whole.images)
    assert whole.report.token_layers < whole.report.dense_token_layers


@pytest.mark.parametrize("dropped", ["exit", "cached"])
def test_tokens_left_out_in_drafted_scales(pipeline: InfinityPipeline, dropped: str) -> None:
    """Also where tokens leave the very scales that a draft holds."""
    kept = {(s, layer): torch.arange(SMALL.tokens[s] // 2) for s in (3, 5) for layer in range(3)}
    plan = index_plan(pipeline.transformer.shape, SMALL, kept, dropped=dropped)
    how: dict[str, Any] = {"prompt": PROMPTS, "seed": 1, "plan": plan}
    draft = pipeline.draft(until=12, **how)
    assert (draft.stack.stayed[3] is not None) == (dropped == "exit")
    draft = draft_from_bytes(draft_to_bytes(draft))
    codes = draft.codes(pipeline.transformer)
    assert torch.equal(pipeline.finish(draft, output_type="latent").images,
                       at_once(pipeline, **how))
    seen: list[torch.Tensor] = []
    pipeline(**how, on_scale=lambda state: seen.append(state.summed_codes.clone()))
    assert torch.equal(codes, seen[5])


def test_greedy_negative_and_sampling_settings_come_along(pipeline: InfinityPipeline) -> None:
    how: dict[str, Any] = {"prompt": PROMPTS, "negative_prompt": "the background", "seed": 9,
                           "tau": [0.5 + 0.1 * s for s in range(7)], "top_p": 0.9,
                           "guidance_scale": 2.5}
    draft = draft_from_bytes(draft_to_bytes(pipeline.draft(until=6, **how)))
    assert draft.negatives == ("the background",) * 2
    assert torch.equal(pipeline.finish(draft, output_type="latent").images,
                       at_once(pipeline, **how))
    greedy = pipeline.draft("a cat", until=6, greedy=True)
    assert torch.equal(pipeline.finish(greedy, output_type="latent").images,
                       at_once(pipeline, prompt="a cat", seed=0, greedy=True))


def test_a_small_draft_goes_on_to_a_larger_size(pipeline: InfinityPipeline) -> None:
    draft = pipeline.draft(PROMPTS, seed=2, until=None)
    larger = pipeline.finish(draft, pn="0.25M", output_type="latent")
    assert larger.images.shape[-2:] == (32, 32) and len(larger.report.scales) == 10
    kept = Recorder()
    pipeline.finish(draft, pn="0.25M", on_scale=kept)
    assert kept.stack(get_schedule("1.0", "0.25M")).first(7).same_bits(draft.stack) == 1.0
    middle = get_schedule("1.0", "0.25M")
    with pytest.raises(ValueError, match="size of the same aspect"):
        pipeline.finish(pipeline.draft("a cat", until=None, schedule=middle), pn="0.06M")
    begun = pipeline.draft("a cat", until=8, schedule=middle)  # no bits speak against it
    small = get_schedule("1.0", "0.06M")
    sizes: tuple[dict[str, Any], ...] = ({"pn": "0.06M"}, {"schedule": small})
    for smaller in sizes:
        with pytest.raises(ValueError, match=r"512x512 pixels \(0.25M\) and cannot be finished at "
                                             r"256x256 \(0.06M\), which is smaller"):
            pipeline.finish(begun, **smaller)
    with pytest.raises(ValueError, match="same aspect"):
        pipeline.finish(draft, schedule=get_schedule("1.5", "0.25M"))


def test_previews_are_the_decoded_codes(pipeline: InfinityPipeline) -> None:
    draft = pipeline.draft(PROMPTS, seed=2, until=8)
    pictures = pipeline.preview(draft, output_type="pt")
    assert pictures.shape == (2, 3, 256, 256)
    seen: list[torch.Tensor] = []
    pipeline(PROMPTS, seed=2, on_scale=lambda state: seen.append(state.summed_codes.clone()))
    assert torch.equal(draft.codes(pipeline.transformer), seen[4])
    assert len(pipeline.preview(draft, which=[1])) == 1


def test_files_and_pictures_hold_the_draft(pipeline: InfinityPipeline, tmp_path: Path) -> None:
    draft = pipeline.draft(PROMPTS, seed=2, until=16)
    assert len(draft_to_bytes(draft)) < 4096
    save_draft(draft, tmp_path / "a.safetensors")
    save_draft_picture(draft, tmp_path / "a.png", pipeline.preview(draft)[0], {"prompt": "x"})
    for name in ("a.safetensors", "a.png"):
        again = load_draft(tmp_path / name)
        assert again.prompts == draft.prompts and again.seeds == draft.seeds
        assert again.params == draft.params and again.stack.same_bits(draft.stack) == 1.0
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_draft(draft, tmp_path / "a.bin")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png"):
        load_draft(tmp_path / "b.png")


def test_damaged_and_foreign_drafts_are_refused(pipeline: InfinityPipeline, tmp_path: Path) -> None:
    draft = pipeline.draft("a cat", until=6)
    content = draft_to_bytes(draft)
    cases = {"": b"", "short": content[: len(content) // 2], "none": b"hello" * 50,
             "more": content + b"x", "zip": b"PK\x03\x04" + content}
    for name, bad in cases.items():
        (tmp_path / "bad.safetensors").write_bytes(bad)
        with pytest.raises(ValueError, match=r"bad\.safetensors: not a usable draft"):
            load_draft(tmp_path / "bad.safetensors")
        assert name is not None
    with pytest.raises(ValueError, match=r"gone\.safetensors"):
        load_draft(tmp_path / "gone.safetensors")
    other = tiny_pipeline(seed=1)
    with pytest.raises(ValueError, match="drawn by another model"):
        other.finish(draft)
    with pytest.raises(ValueError, match="drawn by another model"):
        other.preview(draft)
    with pytest.raises(ValueError, match="must be a Draft"):
        pipeline.finish("a draft")  # type: ignore[arg-type]
    for which in ([1], [-1], [0.5], [True]):
        with pytest.raises(ValueError, match="which names picture"):
            pipeline.finish(draft, which=which)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="which is empty"):
        pipeline.finish(draft, which=[])


@pytest.mark.parametrize(("change", "message"), [
    ({"grids": [[1, 1], [3, 3]]}, "no listed schedule"), ({"grids": "all"}, "scales cannot"),
    ({"scales": 9}, "scales"), ({"bits_per_token": 16}, "bits of scale 0"),
    ({"prompts": ["a", "b"]}, "2 images"), ({"prompts": [1]}, "must be text"),
    ({"seeds": ["x"]}, "seed"), ({"params": {"cfg": [1]}}, "cfg has 1"), ({"model": 3}, "model"),
    ({"params": {"nothing": 1}}, "cannot be read"), ({"plan": {"version": 9}}, "scales"),
    ({"request": 4}, "request"), ({"scales": 2}, "which no draft of 2 scales has"),
])
def test_a_false_description_is_refused(pipeline: InfinityPipeline, change: dict[str, Any],
                                        message: str) -> None:
    import json

    from safetensors.torch import load, save

    content = draft_to_bytes(pipeline.draft("a cat", until=6))
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    about = json.loads(head["about"]) | change
    bad = save(load(content), head | {"about": json.dumps(about)})
    with pytest.raises(ValueError, match=message):
        draft_from_bytes(bad)


def test_until_is_a_side_of_the_square_size() -> None:
    for template in ("1.0", "1.25", "0.333"):
        schedule = get_schedule(template, "1M")
        assert [last_scale(schedule, n) for n in (1, 16, 17, 64, 999)] == [0, 6, 6, 12, 12]
        assert last_scale(get_schedule(template, "0.06M"), 64) == 6
    with pytest.raises(ValueError, match="until"):
        last_scale(SMALL, 0)


@pytest.mark.parametrize("pn", ["0.06M", "0.25M", "0.60M", "1M"])
def test_a_draft_is_by_itself_never_a_whole_picture(pn: str) -> None:
    """Issue 24: side 16, where that is not the last scale."""
    for template in ("1.0", "0.8", "3.0"):
        schedule = get_schedule(template, pn)
        last = last_scale(schedule)
        assert last == (4 if pn == "0.06M" else 6) < len(schedule) - 1


def test_a_draft_of_a_small_picture_stops_at_side_8(pipeline: InfinityPipeline) -> None:
    draft = pipeline.draft("a cat")
    assert draft.stack.grids[-1] == (8, 8) and not draft.finished
    assert pipeline.draft("a cat", until=16).finished  # who asks for it gets it


def test_what_cannot_go_on_is_refused(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match="generator is not taken by a draft"):
        pipeline.draft("a cat", generator=torch.Generator())
    draft = pipeline.draft("a cat", until=6)
    with pytest.raises(ValueError, match="each its own"):
        replace(draft, seeds=(1, 2))
    assert isinstance(draft, Draft)
