from __future__ import annotations

import pytest
import torch

from toprovar.ops.bit_sampling import exponential_noise, greedy_bits, reference, sample_bits


@pytest.mark.parametrize("top_k", [0, 1, 2, 900])
@pytest.mark.parametrize("top_p", [0.0, 0.6, 0.97, 1.0])
def test_same_bits_as_the_official_way(top_k: int, top_p: float) -> None:
    logits = torch.randn(3, 17, 32, generator=torch.Generator().manual_seed(5)) * 3
    for seed in range(3):
        ours = sample_bits(logits, top_k, top_p, torch.Generator().manual_seed(seed))
        theirs = reference.sample_bits(logits, top_k, top_p, torch.Generator().manual_seed(seed))
        assert torch.equal(ours, theirs)


def test_the_generator_ends_in_the_same_state() -> None:
    logits = torch.randn(1, 9, 16)
    a, b = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    sample_bits(logits, 900, 0.97, a)
    reference.sample_bits(logits, 900, 0.97, b)
    assert torch.equal(a.get_state(), b.get_state())


def test_minor_bits_at_the_threshold() -> None:
    # P(1) = 0.03 +- a little: below the threshold the bit is never 1, above it sometimes is
    def share(p: float) -> float:
        logits = torch.tensor([1 - p, p]).log().repeat(20000)[None, None]
        bits = sample_bits(logits, 900, 0.97, torch.Generator().manual_seed(0))
        return bits.float().mean().item()

    assert share(0.0295) == 0
    assert share(0.0305) == pytest.approx(0.0305, abs=0.006)


def test_draws_follow_the_probability() -> None:
    p = torch.tensor([0.1, 0.35, 0.5, 0.8])
    logits = torch.stack([(1 - p).log(), p.log()], -1).flatten().repeat(1, 30000, 1)
    found = sample_bits(logits, 0, 0.0, torch.Generator().manual_seed(7)).float().mean((0, 1))
    torch.testing.assert_close(found, p, atol=0.012, rtol=0)


def test_greedy_takes_zero_on_a_tie() -> None:
    assert greedy_bits(torch.tensor([[[1.0, 1.0, 0.0, 2.0, 3.0, -1.0]]])).tolist() == [[[0, 1, 0]]]


def test_one_generator_an_image() -> None:
    logits = torch.randn(2, 5, 8)
    both = sample_bits(logits, 0, 0.9, [torch.Generator().manual_seed(s) for s in (3, 4)])
    second = sample_bits(logits[1:], 0, 0.9, torch.Generator().manual_seed(4))
    assert torch.equal(both[1:], second)
    with pytest.raises(ValueError, match="1 generators given for 2 images"):
        exponential_noise(torch.empty(2, 3), [torch.Generator()])


def test_input_is_left_alone() -> None:
    logits = torch.randn(1, 5, 8)
    kept = logits.clone()
    sample_bits(logits, 1, 0.9, torch.Generator())
    assert torch.equal(logits, kept)
