from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from toprovar.ops import attention as ops
from toprovar.ops.attention import reference


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 13), (64, 100)])
@pytest.mark.parametrize("masked", [True, False])
def test_against_reference(n: int, m: int, masked: bool) -> None:
    q = torch.randn(2, 3, n, 24)
    # Keys as the cache hands them out: tokens outermost, longer than what is visible
    k, v = (torch.randn(m + 3, 2, 3, 24)[:m].permute(1, 2, 0, 3) for _ in range(2))
    mask = None
    if masked:
        mask = torch.ones(2, 1, 1, m, dtype=torch.bool)
        mask[1, ..., m // 2 + 1 :] = False
    found = ops.attention(q, k, v, 0.7, mask)
    torch.testing.assert_close(found, reference.attention(q, k, v, 0.7, mask), atol=2e-6, rtol=1e-5)


def test_entropy_reference_knows_its_ends() -> None:
    q = torch.zeros(1, 1, 4, 8)
    k = torch.randn(1, 1, 10, 8)
    torch.testing.assert_close(
        reference.entropy(q, k, 1.0), torch.full((1, 1, 4), 10.0, dtype=torch.float64).log()
    )
    one_hot = reference.entropy(k[:, :, :1] * 1000, k, 1.0)
    assert 0 <= one_hot.item() < 1e-6


def test_backends_say_why_not() -> None:
    assert ops.why_unavailable("auto", "cpu") is None
    assert ops.choose("math", "cpu") == "math"
    with pytest.raises(ValueError, match="needs a CUDA device"):
        ops.choose("cudnn", "cpu")
    with pytest.raises(ValueError, match="expected one of"):
        ops.choose("fastest", "cpu")


@pytest.mark.parametrize("backend", ["flash", "math"])
def test_backends_agree(backend: str) -> None:
    q, k, v = torch.randn(3, 1, 2, 33, 16).unbind(0)
    with ops.held_to(backend):
        found = ops.attention(q, k, v, 1.0)
    torch.testing.assert_close(found, reference.attention(q, k, v, 1.0), atol=2e-6, rtol=1e-5)


def switches() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(),
            cuda.cudnn_sdp_enabled())


def test_threads_hold_backends_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each computes with its own, also while others hold others, and torch is left as it was."""
    before, seen = switches(), []
    real = F.scaled_dot_product_attention

    def watched(*args: Any, **how: Any) -> torch.Tensor:
        held = switches()
        found = real(*args, **how)
        seen.append((threading.current_thread().name, held, switches()))
        return found

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    q, k, v = torch.randn(3, 1, 2, 33, 16).unbind(0)
    together = threading.Barrier(3)

    def work(backend: str) -> None:
        together.wait()
        with ops.held_to(backend):  # all three are held at once
            together.wait()
            for _ in range(50):
                ops.attention(q, k, v, 1.0)
        together.wait()

    threads = [threading.Thread(target=work, args=(b,), name=b) for b in ("flash", "math", "auto")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = {"flash": (True, False, False, False), "math": (False, False, True, False),
                "auto": before}
    assert len(seen) == 150
    assert all(held == after == expected[name] for name, held, after in seen)
    assert switches() == before


def test_a_held_backend_ends_with_its_block_though_another_thread_began_later() -> None:
    before, first_in, second_in = switches(), threading.Event(), threading.Event()

    def first() -> None:
        with ops.held_to("flash"):
            first_in.set()
            second_in.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(60)
    with ops.held_to("math"):
        second_in.set()
        thread.join(60)
    assert switches() == before
