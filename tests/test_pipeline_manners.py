"""What users of diffusers' pipelines expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

import toprovar
from tests.tiny import tiny_pipeline
from toprovar.pipeline import InfinityPipeline


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def latents(pipeline: InfinityPipeline, *args: Any, **how: Any) -> torch.Tensor:
    return pipeline(*args, seed=0, output_type="latent", **how).images


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_diffusers_loads_a_saved_folder(pipeline: InfinityPipeline, tmp_path: Path,
                                        variant: str | None) -> None:
    pipeline.save_pretrained(tmp_path, variant=variant)
    loaded = DiffusionPipeline.from_pretrained(
        tmp_path, variant=variant, local_files_only=True)
    assert type(loaded) is InfinityPipeline
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(latents(loaded, "a cat"), latents(pipeline, "a cat"))
    names = {p.name for p in (tmp_path / "transformer").iterdir()}
    assert f"diffusion_pytorch_model{'.fp16' if variant else ''}.safetensors" in names


def test_a_tuple_on_request(pipeline: InfinityPipeline) -> None:
    result: Any = pipeline("a dog", seed=0, return_dict=False)
    assert isinstance(result, tuple) and result[0][0].size == (256, 256)
    assert result[1].plan == "dense"


def test_prompt_embeds(pipeline: InfinityPipeline) -> None:
    plain = latents(pipeline, ["a red apple", "a cat"])
    packed = pipeline.encode_prompt(["a red apple", "a cat"])
    assert torch.equal(latents(pipeline, prompt_embeds=packed), plain)
    rows = packed.rows()
    padded, mask = torch.zeros(2, 6, 24), torch.zeros(2, 6, dtype=torch.long)
    for i, row in enumerate(rows):
        padded[i, : len(row)], mask[i, : len(row)] = row, 1
    assert torch.equal(latents(pipeline, prompt_embeds=padded, prompt_attention_mask=mask), plain)
    assert torch.equal(latents(pipeline, prompt_embeds=rows[0][None]),
                       latents(pipeline, "a red apple"))
    negative = pipeline.encode_prompt("a car")
    assert torch.equal(latents(pipeline, "a cat", negative_prompt_embeds=negative),
                       latents(pipeline, "a cat", negative_prompt="a car"))
    bad: list[tuple[dict[str, Any], str]] = [
        ({"prompt": "a", "prompt_embeds": packed}, "either prompt or prompt_embeds, not both"),
        ({"prompt_features": packed, "prompt_embeds": packed}, "its features or prompt_embeds"),
        ({"prompt_embeds": padded[0]}, r"\[prompts, tokens, channels\].*\[6, 24\]"),
        ({"prompt_embeds": padded, "prompt_attention_mask": mask[:, 1:]}, r"\[2, 6\].*\[2, 5\]"),
        ({"prompt": "a", "prompt_attention_mask": mask}, "not given"),
        ({"prompt_embeds": torch.zeros(1, 3, 7)}, "has 7 channels, the transformer takes 24"),
    ]
    for how, message in bad:
        with pytest.raises(ValueError, match=message):
            pipeline(**how)


def test_latents_are_refused(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match=r"latents: .*not from noise.*seed or generator"):
        pipeline("a", latents=torch.zeros(1, 8, 16, 16))


def test_tiling_can_be_switched_on_and_off(pipeline: InfinityPipeline) -> None:
    def picture(**how: Any) -> np.ndarray:
        return pipeline("a dog", seed=0, output_type="np", **how).images

    whole, tiled = picture(), picture(vae_tile=8)
    pipeline.enable_vae_tiling(8)
    try:
        assert np.array_equal(picture(), tiled) and not np.array_equal(tiled, whole)
        assert np.array_equal(picture(vae_tile=16), whole)
    finally:
        pipeline.disable_vae_tiling()
    assert np.array_equal(picture(), whole)
    with pytest.raises(ValueError, match="at least 4"):
        pipeline.enable_vae_tiling(2)


def test_the_image_processor_makes_the_same_pictures(pipeline: InfinityPipeline) -> None:
    image = pipeline("a dog", seed=0).images[0]
    codes = latents(pipeline, "a dog")
    with torch.no_grad():
        made: Any = pipeline.image_processor.postprocess(pipeline.vae.decode(codes), "pil")
    assert np.abs(np.asarray(made[0], int) - np.asarray(image, int)).max() <= 1
    assert pipeline.image_processor.config["vae_scale_factor"] == 16


def test_sequential_offload_says_what_to_use(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match=r"enable_model_cpu_offload\(\).*stream_blocks"):
        pipeline.enable_sequential_cpu_offload()


def test_a_compiled_part_is_left_out_and_said() -> None:
    pipeline = tiny_pipeline()
    expected, own = latents(pipeline, "a dog"), pipeline.transformer
    for name in ("transformer", "vae"):
        with pytest.warns(UserWarning, match=f"no effect on {name}"):
            setattr(pipeline, name, torch.compile(getattr(pipeline, name)))
    assert pipeline.transformer is own
    assert torch.equal(latents(pipeline, "a dog"), expected)
    own.compile()
    with pytest.warns(UserWarning, match="no effect on transformer"):
        assert torch.equal(latents(pipeline, "a dog"), expected)


def test_types_are_declared() -> None:
    assert (Path(toprovar.__file__).parent / "py.typed").is_file()
