from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.reference_loop import reference_run
from tests.sampling.plain import plain_logits
from tests.sampling.plans import IndexSelector, index_plan
from tests.tiny import random_text, tiny_transformer
from toprovar.models.text import PackedText
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun, ScaleState
from toprovar.schedules import ScaleSchedule, get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")
WIDE = get_schedule("0.75", "0.06M")


def run_all(run: SamplingRun) -> list[ScaleState]:
    return list(run)


def random_bits(schedule: ScaleSchedule, batch: int, d: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(0, 2, (batch, n, d), generator=generator, dtype=torch.uint8)
            for n in schedule.tokens]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_against_the_plain_transcription() -> None:
    model, text = tiny_transformer(), random_text(5)
    params = SamplingParams(SCHEDULE, 3.0, 0.7)
    states = run_all(SamplingRun(model, text, params, generators=seeded(1)))
    codes, logits = reference_run(model, text, params, seeded(1))
    torch.testing.assert_close(states[-1].summed_codes, codes)
    torch.testing.assert_close(states[-1].logits, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("schedule", [SCHEDULE, WIDE], ids=["square", "wide"])
def test_a_plan_processes_just_its_tokens(per_row: bool, schedule: ScaleSchedule) -> None:
    """Dropped tokens pass the block unchanged and leave no key; lengths differ by layer."""
    model, text = tiny_transformer(), random_text(3, 6)
    generator = seeded(2)
    kept: dict[tuple[int, int], Tensor] = {}
    for scale, tokens in enumerate(schedule.tokens):
        for layer, share in enumerate((1.0, 0.4, 0.7)):
            if scale >= 2 and share < 1:
                rows = [torch.randperm(tokens, generator=generator)[: int(tokens * share)]
                        for _ in range(2)]
                kept[scale, layer] = torch.stack(rows) if per_row else rows[0]
    kept[4, 1] = torch.empty((2, 0) if per_row else 0, dtype=torch.int64)  # not run at all
    bits = random_bits(schedule, 2)
    run = SamplingRun(model, text, SamplingParams(schedule, 1.0, 1.0),
                      plan=index_plan(model.shape, schedule, kept), selector=IndexSelector(kept),
                      choose=ForcedBits(bits))
    found = [s.logits for s in run_all(run)]
    expected = plain_logits(model, text, schedule, bits, kept)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    report = run.report()
    assert report.scales[4].kept[1] == 0
    assert report.token_layers < 0.8 * report.dense_token_layers
    # and it does matter
    dense = plain_logits(model, text, schedule, bits, {})
    assert (dense[-1] - expected[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_pieces_do_not_change_the_picture(piece: int) -> None:
    model, text = tiny_transformer(), random_text(4, 2)
    params = SamplingParams(SCHEDULE, 2.0, 0.8)
    runs = [run_all(SamplingRun(model, text, params, generators=seeded(3), options=options))
            for options in (None, EngineOptions(piece_tokens=piece))]
    torch.testing.assert_close(runs[0][-1].logits, runs[1][-1].logits, atol=2e-4, rtol=1e-4)
    assert torch.equal(runs[0][-1].bits, runs[1][-1].bits)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, text = tiny_transformer(), random_text(4, 9)
    params = SamplingParams(SCHEDULE, 3.0, 0.5)
    both = run_all(SamplingRun(model, text, params, generators=[seeded(5), seeded(6)]))
    second = PackedText(text.rows()[1], (9,))
    alone = run_all(SamplingRun(model, second, params, generators=seeded(6)))
    for a, b in zip(both, alone, strict=True):
        assert torch.equal(a.bits[1:], b.bits)


def test_same_seed_same_bits_and_runs_share_a_model() -> None:
    model, text = tiny_transformer(), random_text(4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    params = SamplingParams(SCHEDULE, 3.0, 0.5)
    first = SamplingRun(model, text, params, generators=seeded(1))
    second = SamplingRun(model, text, params, generators=seeded(1))
    third = SamplingRun(model, text, params, generators=seeded(2))
    # Interleaved: no run sees another's cache or codes.
    states = list(zip(first, second, third, strict=True))
    assert all(torch.equal(a.bits, b.bits) for a, b, _ in states)
    assert not all(torch.equal(a.bits, c.bits) for a, _, c in states)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_negative_prompts() -> None:
    model, text = tiny_transformer(), random_text(4, 4)
    params = SamplingParams(SCHEDULE, 3.0, 1.0, mode="greedy")
    null = model.null_rows((4, 4))

    def logits(negative: PackedText | None) -> Tensor:
        return run_all(SamplingRun(model, text, params, negative=negative))[1].logits

    plain = logits(None)
    # The null text given as a negative prompt is the null text.
    torch.testing.assert_close(plain, logits(PackedText(null.features.detach(), (4, 4))))
    one = logits(random_text(6, seed=4))
    assert (one - plain).abs().max() > 1e-3
    torch.testing.assert_close(one, logits(random_text(6, seed=4).repeat_each(2)))
    with pytest.raises(ValueError, match="3 negative prompts for 2 prompts"):
        logits(random_text(1, 1, 1))


def test_no_guidance_runs_half_the_rows() -> None:
    model, text = tiny_transformer(), random_text(4)
    assert SamplingRun(model, text, SamplingParams(SCHEDULE, 1.0)).report().rows == 1
    assert SamplingRun(model, text, SamplingParams(SCHEDULE, 2.0)).report().rows == 2


class StopError(Exception):
    pass


def test_interrupt_between_layers_and_between_scales() -> None:
    model, text = tiny_transformer(), random_text(4)
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise StopError

    run = SamplingRun(model, text, SamplingParams(SCHEDULE), check=check)
    done = []
    with pytest.raises(StopError):
        for state in run:
            done.append(state.index)
    # 3 layers and one check before the logits a scale: the seventh call is inside scale 1
    assert done == [0] and calls == 7
    for state in SamplingRun(model, text, SamplingParams(SCHEDULE)):
        if state.index == 2:
            break
    assert state.report.index == 2


def test_probe_sees_every_block() -> None:
    seen: list[tuple[str, int, int]] = []

    class Look(LayerProbe):
        def block_input(self, scale: int, layer: int, x: Tensor) -> None:
            seen.append(("in", scale, layer))

        def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                      ) -> None:
            assert q.shape[2] == SCHEDULE.tokens[scale]
            assert k.shape[2] == sum(SCHEDULE.tokens[: scale + 1])
            seen.append(("attention", scale, layer))

        def block_output(self, scale: int, layer: int, x: Tensor) -> None:
            seen.append(("out", scale, layer))

    run_all(SamplingRun(tiny_transformer(), random_text(2), SamplingParams(SCHEDULE), probe=Look()))
    assert len(seen) == 3 * 7 * 3
    assert seen[:3] == [("in", 0, 0), ("attention", 0, 0), ("out", 0, 0)]


@pytest.mark.parametrize(("blocks", "options"), [
    (torch.bfloat16, EngineOptions()),
    (torch.float32, EngineOptions(cache_dtype=torch.bfloat16)),
    (torch.bfloat16, EngineOptions(residual_dtype=torch.bfloat16)),
    (torch.float16, EngineOptions()),
], ids=["bf16", "fp32 with bf16 cache", "bf16 residual", "fp16"])
def test_half_precision_stays_close_under_forced_bits(
    blocks: torch.dtype, options: EngineOptions
) -> None:
    text, bits = random_text(4), random_bits(SCHEDULE, 1)
    params = SamplingParams(SCHEDULE, 1.0, 1.0)

    def logits(dtype: torch.dtype, options: EngineOptions | None) -> Tensor:
        model = tiny_transformer()
        model.blocks.to(dtype)
        run = SamplingRun(model, text, params, choose=ForcedBits(bits), options=options)
        return torch.cat([s.logits for s in run_all(run)], 1)

    exact, narrow = logits(torch.float32, None), logits(blocks, options)
    assert narrow.dtype == torch.float32
    error = (exact - narrow).pow(2).mean().sqrt() / exact.std()
    assert 0 < error < 0.03


def test_patchify_doubles_the_latent() -> None:
    model = tiny_transformer(spatial_patchify=True)
    states = run_all(SamplingRun(model, random_text(3), SamplingParams(WIDE), generators=seeded(0)))
    assert states[-1].summed_codes.shape == (1, 2, 30, 40)
    assert states[-1].bits.shape == (1, 300, 8)
    # Channel c of latent pixel (2y + dy, 2x + dx) is bit 4c + 2dy + dx of token (y, x).
    last = states[-1].summed_codes
    bit = states[-1].bits.view(15, 20, 2, 2, 2)[3, 5, 1, 0, 1].item()
    before = last[0, 1, 6, 11] - (2 * bit - 1) / 2**0.5
    again = SamplingRun(model, random_text(3), SamplingParams(WIDE), generators=seeded(0))
    sums = [s.summed_codes[0, 1, 6, 11].item() for s in again]
    assert before.item() == pytest.approx(sums[-2], abs=1e-5)


def test_forced_bits_must_fit() -> None:
    bits = random_bits(SCHEDULE, 1)
    bits[2] = bits[2][:, :3]
    run = SamplingRun(tiny_transformer(), random_text(2), SamplingParams(SCHEDULE),
                      choose=ForcedBits(bits))
    with pytest.raises(ValueError, match="forced bits of scale 2"):
        run_all(run)


def test_too_many_scales_for_the_level_table() -> None:
    with pytest.raises(ValueError, match="the model knows 5"):
        SamplingRun(tiny_transformer(num_levels=5), random_text(2), SamplingParams(SCHEDULE))
