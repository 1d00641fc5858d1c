from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.lanes import KERNEL_LANES, LANES, TOLERANCE, Lane
from toprovar.ops.bit_sampling import greedy_bits, sample_bits_fast, seed_tensor
from toprovar.ops.bit_sampling.fast import removal_limit
from toprovar.ops.bit_sampling.philox import philox

FULL = 0xFFFFFFFF


@pytest.mark.parametrize(("counter", "key", "expected"), [
    # Known answers published with the generator (Random123, philox4x32, 10 rounds)
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert tuple(int(word) for word in philox(counter, key)) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, FULL), min_size=6, max_size=6))
def test_words_against_whole_numbers_without_wrapping(words: list[int]) -> None:
    c0, c1, c2, c3, k0, k1 = words
    found = tuple(int(word) for word in philox(words[:4], words[4:]))
    for _ in range(10):
        low, high = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high & FULL, (low >> 32) ^ c3 ^ k1, low & FULL
        k0, k1 = (k0 + 0x9E3779B9) & FULL, (k1 + 0xBB67AE85) & FULL
    assert found == (c0, c1, c2, c3)


@pytest.mark.parametrize("lane", KERNEL_LANES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(("images", "tokens", "bits"), [(1, 1, 1), (2, 5, 3), (3, 17, 16),
                                                        (2, 33, 56)])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.0), (900, 0.97), (1, 0.97), (0, 0.6)])
def test_kernel_and_torch_give_the_same_bits(
    lane: Lane, dtype: torch.dtype, guided: bool, images: int, tokens: int, bits: int, top_k: int,
    top_p: float,
) -> None:
    # Rows of a longer buffer: strides that are not those of a dense tensor
    rows = images * (2 if guided else 1)
    logits = (torch.randn(rows, tokens + 2, 2 * bits) * 3).to(dtype)[:, 1:-1]
    seeds = seed_tensor([2**64 - 5, 7, 2**63 + 12345][:images], "cpu")
    how = {"cfg": 3.0 if guided else 1.0, "tau": 0.5, "top_k": top_k, "top_p": top_p}
    found = sample_bits_fast(logits.to(lane.device), seeds.to(lane.device), 9, **how,
                             backend=lane.backend)
    assert found.dtype == torch.uint8
    assert torch.equal(found.cpu(), sample_bits_fast(logits, seeds, 9, **how, backend="torch"))


@pytest.mark.parametrize("lane", LANES)
def test_a_bit_depends_on_seed_scale_token_and_place_alone(lane: Lane) -> None:
    logits = torch.randn(3, 12, 16, device=lane.device)
    seeds = seed_tensor([3, 4, 5], lane.device)

    def draw(logits: torch.Tensor, seeds: torch.Tensor, scale: int = 2) -> torch.Tensor:
        return sample_bits_fast(logits, seeds, scale, backend=lane.backend)

    together = draw(logits, seeds)
    assert torch.equal(draw(logits[1:2], seeds[1:2])[0], together[1])
    assert torch.equal(draw(logits.flip(0), seeds.flip(0)), together.flip(0))
    assert torch.equal(draw(logits[:, :7], seeds), together[:, :7])
    even = torch.zeros_like(logits)
    assert not torch.equal(draw(even, seeds, 2), draw(even, seeds, 3))
    assert not torch.equal(draw(even, seeds)[0], draw(even, seeds)[1])


@pytest.mark.parametrize("top_p", [0.0, 0.97])
def test_distribution(top_p: float) -> None:
    """Chi square over the places of a word and over probabilities, top-p's edge included."""
    p = torch.tensor([0.001, 0.0299, 0.0301, 0.1, 0.35, 0.5, 0.8, 0.9699, 0.9701])
    draws = 40_000
    logits = torch.stack([torch.zeros_like(p), torch.logit(p.double()).float()], -1).flatten()
    seeds = seed_tensor([20260728, 5], "cpu")
    bits = sample_bits_fast(logits.expand(2, draws // 2, -1), seeds, 12, tau=1.0, top_p=top_p)
    ones = bits.long().sum((0, 1)).double()
    expected = p.double()
    if top_p:
        expected = torch.where(expected <= 0.03, 0.0, torch.where(expected >= 0.97, 1.0, expected))
        decided = (expected == 0) | (expected == 1)
        assert torch.equal(ones[decided], expected[decided] * draws)
        ones, expected = ones[~decided], expected[~decided]
    chi = ((ones - draws * expected) ** 2 / (draws * expected * (1 - expected))).sum()
    # 99.99 % quantiles of chi square with 6 and 9 degrees of freedom; seeds are fixed
    assert chi < (27.9 if top_p else 33.8)


def test_neighbouring_draws_do_not_hang_together() -> None:
    logits = torch.zeros(4, 4096, 64)
    bits = sample_bits_fast(logits, seed_tensor([0, 1, 2, 3], "cpu"), 0).double() * 2 - 1
    count = bits.numel()
    for axis in range(3):  # images, tokens, bits
        length = bits.shape[axis]
        for distance in {1, 2, 4} & set(range(length)):
            product = bits.narrow(axis, distance, length - distance) \
                * bits.narrow(axis, 0, length - distance)
            assert abs(product.mean()) < 4.5 / (count / 2) ** 0.5
    following = sample_bits_fast(logits, seed_tensor([0, 1, 2, 3], "cpu"), 1).double() * 2 - 1
    assert abs((bits * following).mean()) < 4.5 / count**0.5


def test_guidance_and_temperature() -> None:
    logits = torch.randn(4, 50, 16)
    seeds = seed_tensor([8, 9], "cpu")
    mixed = (3.0 * logits[:2] - 2.0 * logits[2:]) / 0.7
    found = sample_bits_fast(logits, seeds, 1, cfg=3.0, tau=0.7)
    # Rounded to float32 on the way, the mixed logits decide nearly all bits alike
    assert (found != sample_bits_fast(mixed, seeds, 1)).float().mean() < 1e-3
    assert torch.equal(sample_bits_fast(logits, seeds, 1), sample_bits_fast(logits[:2], seeds, 1))
    # cfg is nothing without unconditional rows
    assert torch.equal(sample_bits_fast(mixed, seeds, 1, cfg=3.0),
                       sample_bits_fast(mixed, seeds, 1))


@pytest.mark.parametrize("lane", LANES)
def test_top_k_of_one_is_greedy(lane: Lane) -> None:
    logits = torch.randn(2, 9, 24, device=lane.device)
    found = sample_bits_fast(logits, seed_tensor([1, 2], lane.device), 0, top_k=1,
                             backend=lane.backend)
    assert torch.equal(found, greedy_bits(logits))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("lane", LANES)
def test_extremes(lane: Lane) -> None:
    inf, nan = float("inf"), float("nan")
    pairs = torch.tensor([[0, inf], [inf, 0], [-inf, 0], [3e38, -3e38], [nan, 0], [inf, inf]])
    logits = pairs.flatten().expand(1, 50, 12).contiguous().to(lane.device)
    found = sample_bits_fast(logits, seed_tensor([1], lane.device), 0, top_p=0.97,
                             backend=lane.backend)
    assert (found == torch.tensor([1, 0, 1, 0, 0, 0], device=lane.device)).all()


def test_even_pairs_follow_the_official_order() -> None:
    assert sample_bits_fast(torch.zeros(1, 99, 8), seed_tensor([1], "cpu"), 0, top_p=0.5).all()
    assert removal_limit(0, 0.0) == -1 and removal_limit(1, 0.0) < 0.5


def test_what_does_not_fit_is_said() -> None:
    seeds = seed_tensor([1, 2], "cpu")
    with pytest.raises(ValueError, match=r"logits \[B or 2 B, N, 2 d\] and int64 seeds \[B\]"):
        sample_bits_fast(torch.zeros(3, 4, 8), seeds, 0)
    with pytest.raises(ValueError, match="expected tau > 0"):
        sample_bits_fast(torch.zeros(2, 4, 8), seeds, 0, tau=0.0)
    with pytest.raises(ValueError, match="at most 64 bits"):
        seed_tensor([1 << 64], "cpu")
