from __future__ import annotations

import gc
import importlib
import weakref
from typing import Any

import pytest
import torch

from tests.ops.lanes import KERNEL_LANES, LANES, Lane
from tests.tiny import tiny_autoencoder
from toprovar.models import decoding
from toprovar.models.autoencoder import InfinityAutoencoder, to_uint8
from toprovar.models.decoding import DecodeRunner, runner_of, why_plain
from toprovar.models.fast_decoder import FastDecoder, fixed_algorithms, scratch_bytes

SHAPES = [
    {}, {"stem_patch": 1, "channel_multipliers": (1, 1, 2, 2, 2), "blocks_per_level": 2},
    {"stem_patch": 2, "stride": 8, "base_channels": 48},
    {"channel_multipliers": (1,), "stride": 4},
]


def moved(vae: Any, *where: Any) -> InfinityAutoencoder:
    """diffusers types ``to`` too narrowly."""
    return vae.to(*where)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("changes", SHAPES)
def test_the_fast_decoder_is_the_plain_one(
    lane: Lane, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = moved(tiny_autoencoder(**changes), lane.device)
    codes = torch.randn(2, 8, 3, 2, device=lane.device)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with torch.inference_mode():
        plain = vae.decoder(codes)
        fast = FastDecoder(vae.decoder, torch.float32, lane.backend)(codes)
    torch.testing.assert_close(fast, plain, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("lane", LANES)
def test_half_precision_is_no_further_off_than_the_plain_decoder(lane: Lane) -> None:
    vae = moved(tiny_autoencoder(channel_multipliers=(1, 2, 2)), lane.device)
    codes = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(1)).to(lane.device)
    with torch.inference_mode():
        exact = vae.decode(codes)
        moved(vae, torch.bfloat16)
        plain = vae.decoder(codes.bfloat16().contiguous(memory_format=torch.channels_last))
        plain = decoding.finish_image(plain, vae.shape.stem_patch)
        fast = DecodeRunner(vae, lane.backend)(codes)
    assert fast.dtype == torch.float32 and fast.shape == exact.shape
    assert not fast.is_inference()
    # Triton's interpreter cuts where hardware rounds, which doubles each error
    limit = 2.4 if (lane.device, lane.backend) == ("cpu", "triton") else 1.2
    assert (fast - exact).norm() < limit * (plain - exact).norm()
    assert (to_uint8(fast).int() - to_uint8(exact).int()).abs().max() <= 8


class Noting:
    """A kernel that notes its compilations: types, what is absent, constants."""

    def __init__(self, kernel: Any, found: set[Any]) -> None:
        self.kernel, self.found = kernel, found

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **constants: Any) -> None:
            kinds = tuple(a.dtype if isinstance(a, torch.Tensor) else type(a) for a in args)
            self.found.add((self.kernel.__name__, kinds, tuple(sorted(constants.items()))))
            self.kernel[grid](*args, **constants)
        return launch


@pytest.mark.parametrize("lane", KERNEL_LANES)
@pytest.mark.parametrize("changes", SHAPES)
def test_every_kernel_of_a_decode_is_compiled_ahead(
    lane: Lane, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[Any] = set()
    module = importlib.import_module("toprovar.ops.group_norm_silu.triton")
    for name in ("sum_pixels", "finish_groups", "scale_silu"):
        monkeypatch.setattr(module, name, Noting(getattr(module, name), found))
    monkeypatch.setattr("toprovar.models.fast_decoder.STANDIN", 2)
    decoder = FastDecoder(moved(tiny_autoencoder(**changes), lane.device).decoder, torch.bfloat16,
                          lane.backend)
    with torch.inference_mode():
        decoder(torch.randn(1, 8, 3, 2, device=lane.device))
        used = set(found)
        found.clear()
        for launch in decoder.launches():
            launch()
    assert used and used == found


def test_where_the_plain_decoder_stays() -> None:
    vae = tiny_autoencoder()
    with torch.no_grad():
        assert "half precision" in (why_plain(vae) or "")
        moved(vae, torch.bfloat16)
        assert "cuda" in (why_plain(vae) or "") or "interpreter" in (why_plain(vae) or "")
    assert "gradients" in (why_plain(vae) or "")
    with pytest.raises(ValueError, match="graph=True was asked for, but graphs are recorded on"):
        DecodeRunner(vae)(torch.randn(1, 8, 2, 2), graph=True)


def test_what_was_made_of_weights_goes_with_them() -> None:
    vae = tiny_autoencoder()
    runner = runner_of(vae)
    assert runner_of(vae) is runner and moved(vae, "cpu") is vae and runner_of(vae) is runner
    # Changed in place, replaced, moved
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(2)
    second = runner_of(vae)
    assert second is not runner
    vae.decoder.load_state_dict(vae.decoder.state_dict(), assign=True)
    vae.decoder.conv_in.weight = torch.nn.Parameter(vae.decoder.conv_in.weight.clone())
    third = runner_of(vae)
    assert third is not second
    moved(vae, torch.float64)
    assert vae not in decoding._RUNNERS
    # Nothing keeps the autoencoder alive
    runner_of(vae)
    gone = weakref.ref(vae)
    del vae
    gc.collect()
    assert gone() is None and len(decoding._RUNNERS) == 0


def test_recorded_weights_are_copies_of_the_present_ones() -> None:
    vae = tiny_autoencoder()
    codes = torch.randn(1, 8, 2, 2)
    before = runner_of(vae)(codes)
    with torch.no_grad():
        bias = vae.decoder.conv_out.bias
        assert bias is not None
        bias.add_(0.25)
    after = runner_of(vae)(codes)
    inner = (before.abs() < 0.7)
    torch.testing.assert_close(after[inner], before[inner] + 0.25)


def test_cudnn_is_left_as_it_was() -> None:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with fixed_algorithms():
        assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
    assert (cudnn.benchmark, cudnn.deterministic) == before


def test_scratch_covers_what_a_decode_holds() -> None:
    # 1024 px of the released autoencoders in half precision: five pictures of 128 channels
    assert scratch_bytes((128, 256, 512, 512, 512), 1024, 1024, 2) == 5 * 128 * 2**20 * 2
    assert scratch_bytes((64,), 16, 8, 4) == 4 * 64 * 128 * 4


@pytest.mark.parametrize("lane", KERNEL_LANES[1:])
def test_replays_on_a_gpu(lane: Lane) -> None:
    vae = moved(tiny_autoencoder(channel_multipliers=(1, 2, 2)), lane.device, torch.bfloat16)
    big, small = (torch.randn(1, 8, n, n, device=lane.device) for n in (6, 4))
    with torch.inference_mode():
        steps = {n: vae.decode(codes, graph=False) for n, codes in ((6, big), (4, small))}
        for _ in range(4):  # first call, recording, replays; shapes in turn
            assert torch.equal(vae.decode(big), steps[6])
            assert torch.equal(vae.decode(small), steps[4])
        kept = vae.decode(big)
        vae.decode(big.flip(-1))
        assert torch.equal(kept, steps[6])  # a result is not overwritten by the next
        assert runner_of(vae).replays.recorded() == [((1, 8, 4, 4),), ((1, 8, 6, 6),)]
    # Outside of inference mode too
    with torch.no_grad():
        assert torch.equal(vae.decode(big, graph=True), steps[6])
        # Moved away and back, the weights lie elsewhere: prepared and recorded anew
        moved(vae, "cpu")
        assert vae not in decoding._RUNNERS
        moved(vae, lane.device)
        for _ in range(3):
            assert torch.equal(vae.decode(big), steps[6])
        assert vae.decode(torch.randn(1, 8, 12, 9, device=lane.device), tile=6).isfinite().all()
