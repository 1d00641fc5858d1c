"""What a call may be given: numbers of any kind, and nothing that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import random_text, tiny_pipeline, tiny_text_encoder, tiny_tokenizer
from toprovar.arguments import seed_list
from toprovar.models.text_encoder import encode_prompts
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import SamplingParams
from toprovar.schedules import aspect_notes, get_schedule, schedule_for_size, size_notes

SCHEDULE = get_schedule("1.0", "0.06M")


@pytest.fixture(scope="module")
def pipe() -> InfinityPipeline:
    return tiny_pipeline()


def latents(pipe: InfinityPipeline, **how: Any) -> torch.Tensor:
    return pipe("a cat", output_type="latent", **{"seed": 3, "guidance_scale": 2, **how}).images


@pytest.mark.parametrize("same", [
    {"seed": np.int64(3)}, {"seed": np.uint32(3)}, {"seed": torch.tensor(3)},
    {"seed": np.array(3)}, {"seed": [np.int64(3)]}, {"seed": np.array([3])},
    {"guidance_scale": np.float32(2)}, {"guidance_scale": torch.tensor(2.0)},
    {"guidance_scale": np.full(7, 2.0)}, {"guidance_scale": torch.full((7,), 2)},
    {"tau": np.float16(0.5)}, {"tau": [torch.tensor(0.5)] * 7},
    {"num_images_per_prompt": np.int8(1)}, {"height": np.int32(256), "width": torch.tensor(256)},
    {"cfg_insertion_layer": 0}, {"cfg_insertion_layer": np.array([0])},
    {"top_k": np.int64(900), "top_p": np.float64(0.97)},
])
def test_numbers_of_every_kind_are_taken(pipe: InfinityPipeline, same: dict[str, Any]) -> None:
    assert torch.equal(latents(pipe, **same), latents(pipe))


@pytest.mark.parametrize(("how", "message"), [
    ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number, got nan"),
    ({"guidance_scale": np.float32("inf")}, "guidance_scale must be a finite number, got inf"),
    ({"guidance_scale": -1}, "guidance_scale must be 0 or more"),
    ({"guidance_scale": [2.0] * 6 + [float("nan")]}, "guidance_scale must be a finite number"),
    ({"guidance_scale": "3"}, "guidance_scale must be a number"),
    ({"guidance_scale": [3.0]}, "cfg has 1 entries, but the schedule has 7 scales"),
    ({"tau": float("nan")}, "tau must be a finite number"), ({"tau": -0.5}, "tau must be above 0"),
    ({"tau": [[0.5]] * 7}, "tau must be a number"), ({"tau": []}, "tau has 0 entries"),
    ({"top_p": float("nan")}, "top_p must be a finite number"),
    ({"top_k": 1.5}, "top_k must be a whole number"),
    ({"height": 0}, "height must be between 1 and 8192, got 0"),
    ({"height": 256, "width": -1}, "width must be between 1 and 8192"),
    ({"height": 256.5}, "height must be a whole number"),
    ({"height": 256, "width": 10**9}, "width must be between 1 and 8192"),
    ({"height": 8000, "width": 16}, "aspect 500 .* is far from all"),
    ({"num_images_per_prompt": 0}, "num_images_per_prompt must be between 1 and 1000"),
    ({"num_images_per_prompt": 1_000_000}, "num_images_per_prompt must be between 1 and 1000"),
    ({"seed": 1 << 64}, "seed must be between"), ({"seed": 1.5}, "seed must be a whole number"),
    ({"seed": [1, 2]}, "2 seeds given for 1 images"),
    ({"cfg_insertion_layer": "x"}, "cfg_insertion_layer must be a whole number"),
    ({"prompt": 3}, "prompt must be text, got int"), ({"prompt": []}, "empty list"),
    ({"prompt": "a \ud83d cat"}, r"character 3 is half of a surrogate pair \(U\+D83D\)"),
    ({"prompt": ["a cat", "\udcff"]}, "prompt 2 of 2 is not valid text"),
])
def test_what_is_no_number_is_refused(pipe: InfinityPipeline, how: dict[str, Any], message: str
                                      ) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": "a cat", "seed": 1, **how})


@pytest.mark.parametrize(("defaults", "message"), [
    ({"default_cfg": float("nan")}, "default_cfg must be a finite number"),
    ({"default_cfg": "3"}, "default_cfg must be a number"),
    ({"default_tau": 0}, "default_tau must be above 0"),
    ({"default_pn": "9M"}, "default_pn must be one of 0.06M"), ({"default_pn": None}, "default_pn"),
])
def test_defaults_of_a_pipeline_are_checked(pipe: InfinityPipeline, defaults: dict[str, Any],
                                            message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfinityPipeline(pipe.transformer, pipe.vae, **defaults)


@pytest.mark.parametrize(("how", "message"), [
    ({"plan": {}}, "plan must be a plan, or a strategy of make_plan, got dict"),
    ({"plan": "fastvar"}, "plan must be"), ({"schedule": "1.0"}, "schedule must be from"),
    ({"options": {}}, "options must be EngineOptions, got dict"),
    ({"generator": 3}, "generator must be"), ({"generator": [None]}, "got None in a list"),
    ({"generator": "x"}, "generator must be"), ({"check": 1}, "check must be a function"),
    ({"callback_on_step_end": "x"}, "callback_on_step_end must be a function"),
    ({"vae_tile": 1}, "vae_tile must be at least 4"), ({"vae_tile": "x"}, "vae_tile must be"),
    ({"prompt": None, "prompt_features": torch.ones(3, 24)}, "prompt_features must be from"),
    ({"prompt": None, "prompt_features": random_text(3, channels=8)}, "has 8 channels, the trans"),
    ({"negative_features": random_text(3, channels=8)}, "negative_features has 8 channels"),
])
def test_arguments_of_another_kind_are_refused(pipe: InfinityPipeline, how: dict[str, Any],
                                               message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": "a cat", **how})


@pytest.mark.parametrize(("content", "message"), [
    ("[" * 200_000, "recursion depth"), ("{", "not valid JSON"), ("[]", "not a JSON dictionary"),
    ('{"default_cfg": NaN}', "'default_cfg': .* expected a number .* found nan"),
    ('{"default_cfg": "3"}', "'default_cfg': .* expected a number"),
    ('{"default_tau": [0.5]}', "'default_tau': .* expected a number"),
    ('{"default_pn": "9M"}', "'default_pn': .* expected one of"), ('{"default_x": 1}', "default_x"),
])
def test_a_damaged_index_of_a_pipeline_is_named(tmp_path: Path, content: str, message: str
                                                ) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        InfinityPipeline.from_folder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "model_index.json"))


def test_seeds_wrap_after_the_last(pipe: InfinityPipeline) -> None:
    last = (1 << 64) - 1
    assert seed_list(last, 3) == [last, 0, 1] and seed_list(-1, 2) == [-1, 0]
    both = latents(pipe, seed=last, num_images_per_prompt=2)
    assert torch.equal(both[1:], latents(pipe, seed=0))
    assert torch.equal(both[:1], latents(pipe, seed=-1))  # torch's own: the same bits
    seed: Any = np.uint64(last)
    report = pipe("a cat", seed=seed, output_type="latent").report
    assert report.seed == last and isinstance(report.seed, int)


def test_a_size_that_is_not_listed_is_noted(pipe: InfinityPipeline) -> None:
    done = pipe("a cat", height=200, width=300, seed=1)
    assert done.images[0].size == (336, 224)
    assert done.report.notes == ("asked for 300x200 pixels, drawn at 336x224, the nearest listed "
                                 "size",)
    given = pipe("a cat", height=200, schedule=SCHEDULE, seed=1, output_type="latent").report
    assert given.notes[0].startswith("asked for 200x200 pixels, drawn at 256x256")
    assert pipe("a cat", height=256, seed=1, output_type="latent").report.notes == ()
    assert size_notes(schedule_for_size(224, 336), 224, 336) == ()


def test_an_aspect_that_is_not_listed_is_noted() -> None:
    assert aspect_notes(get_schedule(9 / 16, "0.06M"), "16:9") == (
        "asked for aspect 16:9, drawn at 7:4 (336x192 pixels), the nearest listed one",)
    assert aspect_notes(get_schedule(2 / 3, "0.06M"), "3:2") == ()


def test_prompts_that_are_not_understood_are_noted(pipe: InfinityPipeline) -> None:
    def notes(prompt: Any, negative: str | None = None) -> tuple[str, ...]:
        return pipe(prompt, negative, seed=1, output_type="latent", guidance_scale=2).report.notes

    assert notes("a red cat", "") == ()
    assert notes("") == ("the prompt is empty: nothing says what to draw",)
    assert notes("a zebra, a red zebra \N{CAT FACE}") == (
        "the prompt has words that the text encoder does not know and cannot tell apart: zebra, ,, "
        "\N{CAT FACE}",)
    assert notes(["a cat", "  "], "a yak") == (
        "the prompt 2 of 2 is empty: nothing says what to draw",
        "the negative prompt has words that the text encoder does not know and cannot tell apart: "
        "yak")
    text = encode_prompts(["a " * 30], tiny_tokenizer(), tiny_text_encoder(), 16)
    assert text.notes == ("has 31 text tokens, only the first 16 are used",)
    assert text.to("cpu").notes == text.notes
    many = encode_prompts([" ".join(f"w{i}" for i in range(12))], tiny_tokenizer(),
                          tiny_text_encoder())
    assert many.notes[0].endswith("w6, w7 and 4 more")


def test_params_are_plain_numbers() -> None:
    params = SamplingParams(SCHEDULE, np.float32(2), torch.tensor(0.5), top_p=np.float64(0.5))  # type: ignore[arg-type]  # taken on purpose
    assert all(type(value) is float for value in (*params.cfg_list, *params.tau_list, params.top_p))
