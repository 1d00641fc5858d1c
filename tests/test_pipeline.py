from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.sampling.plans import index_plan
from tests.tiny import tiny_autoencoder, tiny_pipeline, tiny_text_encoder, tiny_transformer
from toprovar.models.transformer import InfinityTransformer
from toprovar.pipeline import InfinityPipeline
from toprovar.schedules import get_schedule


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def test_images_and_report(pipeline: InfinityPipeline) -> None:
    result = pipeline("a red apple", seed=1)
    (image,) = result.images
    assert image.size == (256, 256) and image.mode == "RGB"
    report = json.loads(json.dumps(result.report.to_json()))
    assert report["plan"] == "dense" and report["seed"] == 1 and len(report["scales"]) == 7
    assert report["token_layers"] == report["dense_token_layers"] == 2 * 521 * 3
    assert set(report["seconds"]) == {"text", "scales", "decode"}


def test_every_output_type_is_the_same_picture(pipeline: InfinityPipeline) -> None:
    def call(kind: Any) -> Any:
        return pipeline("a cat", seed=2, output_type=kind).images

    array, tensor, latent = call("np"), call("pt"), call("latent")
    assert array.shape == (1, 256, 256, 3) and array.dtype == np.float32
    np.testing.assert_array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert latent.shape == (1, 8, 16, 16)
    decoded = pipeline.vae.decode(latent)
    torch.testing.assert_close((decoded + 1) / 2, tensor)
    pil = np.asarray(call("pil")[0])
    np.testing.assert_allclose(pil, array[0] * 255, atol=1.01)
    with pytest.raises(ValueError, match="output_type"):
        call("jpeg")


def test_prompts_times_images_each_alone(pipeline: InfinityPipeline) -> None:
    """Image i of a batch is the image of seed + i alone, whatever the neighbours' lengths."""
    def latents(prompt: Any, seed: int, **more: Any) -> torch.Tensor:
        return pipeline(prompt, seed=seed, output_type="latent", **more).images

    batch = latents(["a red apple", "a cat and a dog"], 10, num_images_per_prompt=2)
    assert batch.shape[0] == 4
    for i, prompt in enumerate(["a red apple"] * 2 + ["a cat and a dog"] * 2):
        assert torch.equal(batch[i : i + 1], latents(prompt, 10 + i))


def test_generators(pipeline: InfinityPipeline) -> None:
    def latents(**how: Any) -> torch.Tensor:
        return pipeline(["a cat", "a dog"], output_type="latent", **how).images

    one = latents(generator=torch.Generator().manual_seed(3))
    assert torch.equal(one, latents(generator=torch.Generator().manual_seed(3)))
    pair = latents(generator=[torch.Generator().manual_seed(s) for s in (3, 4)])
    assert torch.equal(pair, latents(seed=3))
    for how, message in (({"seed": 1, "generator": torch.Generator()}, "either seed or generator"),
                         ({"generator": [torch.Generator()]}, "1 generators"),
                         ({"seed": [1, 2, 3]}, "3 seeds")):
        with pytest.raises(ValueError, match=message):
            latents(**how)


def test_sizes_go_to_the_nearest_listed(pipeline: InfinityPipeline) -> None:
    image = pipeline("a car", seed=0, height=230, width=300).images[0]
    assert image.size == (320, 240)
    assert pipeline.resolve_schedule(512, None).image_size == (512, 512)


def test_callbacks_and_interrupt(pipeline: InfinityPipeline) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def callback(pipe: InfinityPipeline, step: int, timestep: int, values: dict) -> None:
        seen.append((step, tuple(values["latents"].shape)))
        if step == 3:
            pipe.interrupt = True

    result = pipeline("a dog", seed=0, callback_on_step_end=callback)
    assert [s for s, _ in seen] == [0, 1, 2, 3] and seen[0][1] == (1, 8, 16, 16)
    assert result.report.notes == ("interrupted after 4 of 7 scales",)
    assert result.images[0].size == (256, 256)
    # and the next call is whole again
    assert len(pipeline("a dog", seed=0).report.scales) == 7


def test_a_plan_reaches_the_run(pipeline: InfinityPipeline) -> None:
    schedule = get_schedule("1.0", "0.06M")
    plan = index_plan(pipeline.transformer.shape, schedule, {(6, 1): torch.arange(128)})
    report = pipeline("a dog", seed=0, plan=plan).report
    assert report.plan == "indices" and report.scales[6].kept == (256, 128, 256)


def test_negative_prompt_matters(pipeline: InfinityPipeline) -> None:
    def latents(**how: Any) -> torch.Tensor:
        return pipeline("a dog", seed=0, output_type="latent", guidance_scale=4.0, **how).images

    assert not torch.equal(latents(), latents(negative_prompt="a blue car"))
    features = pipeline.encode_prompt("a blue car")
    assert torch.equal(latents(negative_prompt="a blue car"), latents(negative_features=features))


def test_prompts_are_literal_unless_weights_are_asked_for(pipeline: InfinityPipeline) -> None:
    def latents(prompt: str, negative: str | None = None, **how: Any) -> torch.Tensor:
        return pipeline(prompt, negative, seed=0, output_type="latent", guidance_scale=4.0,
                        **how).images

    asked: dict[str, Any] = {"prompt_weights": True}
    plain = latents("a red dog")
    assert torch.equal(latents("a red dog", **asked), plain)
    assert torch.equal(latents("a (red:1.0) dog", **asked), plain)
    assert not torch.equal(latents("a (red:0.3) dog", **asked), plain)
    features = pipeline.encode_prompt("a (red:0.3) dog", weights=True)
    found = pipeline(prompt_features=features, seed=0, output_type="latent", guidance_scale=4.0)
    assert torch.equal(found.images, latents("a (red:0.3) dog", **asked))
    assert not torch.equal(latents("a (red:0.3) dog"), found.images)
    assert not torch.equal(latents("a dog", "a (blue:3) car", **asked),
                           latents("a dog", "a blue car", **asked))
    report = pipeline("a (red:0.3) dog, embedding:x", seed=0, prompt_weights=True).report
    assert report.notes[0].startswith('the prompt was read without "embedding:x": Infinity has no')
    report = pipeline("a (red:0.3) dog", seed=0).report
    assert report.notes[0].startswith('the prompt has "(red:0.3)", which is read as it stands')


def test_bad_calls(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match="either prompt or its features: neither was given"):
        pipeline()
    with pytest.raises(ValueError, match="empty list"):
        pipeline([])
    with pytest.raises(ValueError, match="num_images_per_prompt"):
        pipeline("a", num_images_per_prompt=0)
    with pytest.raises(ValueError, match="2 negative prompts for 1 prompts"):
        pipeline("a", negative_prompt=["b", "c"])


def test_a_call_changes_no_component(pipeline: InfinityPipeline) -> None:
    parts = [pipeline.transformer, pipeline.vae, pipeline.text_encoder]
    before = [{k: v.clone() for k, v in p.state_dict().items()} for p in parts]
    keys = [set(vars(p)) for p in parts]
    pipeline("a cat", seed=0)
    for part, state, names in zip(parts, before, keys, strict=True):
        assert set(vars(part)) == names
        assert all(torch.equal(state[k], v) for k, v in part.state_dict().items())


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_save_and_load(pipeline: InfinityPipeline, tmp_path: Path, dtype: torch.dtype | None
                       ) -> None:
    pipeline.save_pretrained(tmp_path / "p")
    index = json.loads((tmp_path / "p" / "model_index.json").read_text())
    assert index["transformer"] == ["toprovar.models.transformer", "InfinityTransformer"]
    loaded = InfinityPipeline.from_pretrained(
        tmp_path / "p", torch_dtype=dtype, local_files_only=True
    )
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config["default_pn"] == "0.06M"
    if dtype is None:
        latents = [p("a red cat", seed=4, output_type="latent").images
                   for p in (pipeline, loaded)]
        assert torch.equal(*latents)
    else:
        assert loaded.transformer.compute_dtype == dtype
        assert loaded.transformer.head.weight.dtype == torch.float32
        assert loaded("a red cat", seed=4).images[0].size == (256, 256)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    from tests.tiny import tiny_tokenizer

    with pytest.raises(ValueError, match="predicts 8 latent channels, the VAE has 4"):
        InfinityPipeline(tiny_transformer(), tiny_autoencoder(latent_channels=4),
                         tiny_text_encoder(), tiny_tokenizer())
    with pytest.raises(ValueError, match="text encoder gives 32 channels"):
        InfinityPipeline(tiny_transformer(), tiny_autoencoder(), tiny_text_encoder(32),
                         tiny_tokenizer())


def test_progress_bar_counts_scales(capfd: pytest.CaptureFixture[str]) -> None:
    tiny_pipeline().set_progress_bar_config(disable=True)
    fresh = tiny_pipeline()
    fresh.set_progress_bar_config(disable=False)
    fresh("a cat", seed=0)
    assert "7/7" in capfd.readouterr().err


def test_model_offload_brings_each_part_before_its_use() -> None:
    """The hooks of ``enable_model_cpu_offload``, on the only device there is."""
    from accelerate import cpu_offload_with_hook

    pipeline, order = tiny_pipeline(), []
    hook = None
    for name in pipeline.model_cpu_offload_seq.split("->"):
        part = getattr(pipeline, name)
        _, hook = cpu_offload_with_hook(part, torch.device("cpu"), prev_module_hook=hook)
        original = part._hf_hook.pre_forward

        def pre_forward(module: Any, *args: Any, name: str = name, original: Any = original,
                        **kwargs: Any) -> Any:
            order.append(name)
            return original(module, *args, **kwargs)

        part._hf_hook.pre_forward = pre_forward
    assert pipeline("a cat", seed=0).images[0].size == (256, 256)
    assert order == ["text_encoder", "transformer", "vae"]


def test_models_are_freed_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, freed = tiny_pipeline(), []
    monkeypatch.setattr(pipeline, "maybe_free_model_hooks", lambda: freed.append(True))

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline("a cat", seed=0, check=check)
    assert freed == [True]
    pipeline("a cat", seed=0)
    assert freed == [True, True]


def test_types_of_components_and_settings_stand_in_the_signature() -> None:
    """diffusers 0.35 checks what it loads against them, and takes no text for a type."""
    found = inspect.signature(InfinityPipeline.__init__).parameters
    assert found["default_cfg"].annotation is float and found["default_pn"].annotation is str
    assert found["transformer"].annotation is InfinityTransformer
