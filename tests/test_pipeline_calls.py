"""Several calls of one pipeline at once, and what a callback or an interrupt does to its own."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import EngineOptions


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    return thread, found


def test_an_interrupt_from_a_callback_is_of_that_call(pipeline: InfinityPipeline) -> None:
    other_runs, stopped = threading.Event(), threading.Event()

    def other(pipe: Any, step: int, time: int, values: Any) -> None:
        other_runs.set()
        assert stopped.wait(60)

    def stop(pipe: Any, step: int, time: int, values: Any) -> None:
        assert other_runs.wait(60)
        pipe.interrupt = True

    thread, found = in_thread(lambda: pipeline("a cat", seed=1, callback_on_step_end=other))
    own = pipeline("a dog", seed=0, callback_on_step_end=stop)
    stopped.set()
    thread.join(60)
    assert own.report.notes == ("interrupted after 1 of 7 scales",)
    assert len(found[0].report.scales) == 7 and not found[0].report.notes


def test_an_interrupt_is_not_lost_when_another_call_begins(pipeline: InfinityPipeline) -> None:
    running, go_on = threading.Event(), threading.Event()

    def wait(pipe: Any, step: int, time: int, values: Any) -> None:
        running.set()
        assert go_on.wait(60)

    thread, found = in_thread(lambda: pipeline("a cat", seed=1, callback_on_step_end=wait))
    assert running.wait(60)
    pipeline.interrupt = True  # from outside: of all that are in flight
    whole = pipeline("a dog", seed=0)
    go_on.set()
    thread.join(60)
    assert len(whole.report.scales) == 7 and not whole.report.notes
    assert found[0].report.notes == ("interrupted after 1 of 7 scales",)
    assert not pipeline.interrupt


def latents(pipeline: InfinityPipeline, callback: Any = None, **how: Any) -> torch.Tensor:
    return pipeline("a dog", seed=0, output_type="latent", callback_on_step_end=callback,
                    **how).images


def test_the_run_goes_on_from_the_latents_of_the_callback(pipeline: InfinityPipeline) -> None:
    plain = latents(pipeline)
    before_last: list[torch.Tensor] = []

    def returns(pipe: Any, step: int, time: int, values: Any) -> Any:
        before_last.append(values["latents"].clone())
        return {"latents": values["latents"] * 0.5} if step == 3 else values

    def in_place(pipe: Any, step: int, time: int, values: Any) -> None:
        if step == 3:
            values["latents"].mul_(0.5)

    changed = latents(pipeline, returns)
    assert not torch.equal(changed, plain)
    assert torch.equal(latents(pipeline, in_place), changed)
    assert torch.equal(latents(pipeline, lambda *_: None), plain)
    assert torch.equal(latents(pipeline, lambda p, s, t, values: values), plain)
    last = latents(pipeline, lambda p, s, t, v: {"latents": v["latents"] + s // 6})
    torch.testing.assert_close(last, plain + 1)


@pytest.mark.parametrize(("answer", "message"), [
    ({"latents": torch.zeros(1, 8, 4, 4)}, r"expected the shape \[1, 8, 16, 16\].*\[1, 8, 4, 4\]"),
    ({"latents": torch.full((1, 8, 16, 16), float("nan"))}, "finite"),
    ({"latents": "x"}, "got str"),
    ({"prompt_embeds": torch.zeros(1)}, "only 'latents' can be used"),
    ([1], "a dictionary or None"),
])
def test_what_a_callback_cannot_return(pipeline: InfinityPipeline, answer: Any, message: str
                                       ) -> None:
    with pytest.raises(ValueError, match=message):
        latents(pipeline, lambda *_: answer)


def test_a_callback_gets_the_tensors_it_names(pipeline: InfinityPipeline) -> None:
    seen: list[Any] = []

    def callback(pipe: Any, step: int, time: int, values: Any) -> Any:
        seen.append(values)
        return values

    names = ["prompt_embeds", "negative_prompt_embeds"]
    found = latents(pipeline, callback, callback_on_step_end_tensor_inputs=names)
    assert torch.equal(found, latents(pipeline))
    assert list(seen[0]) == names and seen[0]["prompt_embeds"].shape == (1, 3, 24)
    assert seen[0]["negative_prompt_embeds"] is None
    with pytest.raises(ValueError, match="'noise' is not one of latents"):
        latents(pipeline, callback, callback_on_step_end_tensor_inputs=["noise"])


def test_pictures_are_told_of_as_they_are_decoded(pipeline: InfinityPipeline,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, told = [0], []
    real = pipeline.vae.decode

    def decode(*args: Any, **how: Any) -> Any:
        decoded[0] += 1
        return real(*args, **how)

    monkeypatch.setattr(pipeline.vae, "decode", decode)

    def on_image(index: int, image: Any, report: Any) -> None:
        told.append((index, decoded[0], image.tobytes(), report.plan))

    result = pipeline("a dog", seed=0, num_images_per_prompt=3, on_image=on_image)
    assert [(i, n) for i, n, _, _ in told] == [(0, 1), (1, 2), (2, 3)]
    assert [pixels for _, _, pixels, _ in told] == [image.tobytes() for image in result.images]
    assert {plan for *_, plan in told} == {"dense"}
    shapes: list[Any] = []
    arrays = pipeline("a dog", seed=0, num_images_per_prompt=2, output_type="np",
                      on_image=lambda i, image, report: shapes.append(image.shape)).images
    assert arrays.shape == (2, 256, 256, 3) and shapes == [(256, 256, 3)] * 2


def test_calls_in_threads_give_the_pictures_they_give_alone(pipeline: InfinityPipeline) -> None:
    backends = ("math", "flash", "auto")

    def picture(backend: str) -> torch.Tensor:
        return latents(pipeline, options=EngineOptions(attention_backend=backend))

    alone = [picture(backend) for backend in backends]
    together = [in_thread(lambda b=b: picture(b)) for b in backends]
    for (thread, found), expected in zip(together, alone, strict=True):
        thread.join(120)
        assert torch.equal(found[0], expected)


def test_codes_are_decoded_where_the_vae_is() -> None:
    """Which need not be where the transformer is."""
    from toprovar.pipeline_outputs import decode_images

    pipe = tiny_pipeline()
    pictures = decode_images(pipe.vae.to("meta"), torch.zeros(1, 8, 4, 4), "pt")
    assert pictures.device.type == "meta" and pictures.shape == (1, 3, 64, 64)
