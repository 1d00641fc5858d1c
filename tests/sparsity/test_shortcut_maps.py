"""Maps of 8 bits: what they lose, their file, and the file of 16 bits beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.random_shortcuts import random_shortcuts
from tests.sparsity.test_toprovar import SHAPE
from toprovar.analysis.shortcut_sums import Moments
from toprovar.files import DATA
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.shortcut_maps import LinearMap, QuantizedMap, as_linear, quantized
from toprovar.sparsity.shortcuts import Shortcuts

BOX = DATA / "calibrations" / "infinity-emoji.safetensors"
FITTED = (LinearShortcut(4, 5, 1), LinearShortcut(4, 5, 2), LinearShortcut(5, 6, 2))
CPU = torch.device("cpu")


def maps(seed: int = 3) -> Shortcuts:
    return random_shortcuts("m", SHAPE, FITTED, seed=seed, eight_bits=True)


def head_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def tokens() -> tuple[Tensor, Tensor]:
    """Inputs that are much alike, of sizes from 0.01 to 100 and ten times as far from 0, outcomes
    two of which are a hundred times as large as the others."""
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(4000, 24, generator=generator) * torch.logspace(0, -1.5, 24)
    z = hidden @ torch.randn(24, 300, generator=generator)
    z = (z + 0.3 * torch.randn(4000, 300, generator=generator)) * torch.logspace(-2, 2, 300)
    y = hidden @ torch.randn(24, 48, generator=generator)
    y = y + 0.5 * torch.randn(4000, 48, generator=generator)
    return z + torch.logspace(-1, 3, 300), y * torch.tensor([100.0, 100.0, *[1.0] * 46])


def test_eight_bits_lose_little_whatever_the_sizes() -> None:
    z, y = tokens()
    sums = Moments()
    sums.add(z, y)
    found = sums.solve(16)
    small = quantized(found, sums.input_scale, sums.input_mean)
    exact, now = (z.double() @ (m.up.double() @ m.down.double()).T + m.bias
                  for m in (found, as_linear(small)))
    lost = (now - exact).square().sum(0) / (exact - exact.mean(0)).square().sum(0)
    assert float(lost.max()) < 0.01 and float(lost[:2].max()) < 0.001  # of each outcome
    assert sums.explained(small) == pytest.approx(sums.explained(found), abs=5e-4)
    assert Moments.explained_of(z, y, small) == pytest.approx(sums.explained(small), abs=1e-5)
    # With one scale for a whole factor much is lost.
    down, up = (x.abs().max() / 127 * (x * 127 / x.abs().max()).round() for x in found[:2])
    assert sums.explained(found._replace(down=down, up=up)) < 0.7 * sums.explained(found)


def test_the_parts_of_a_map_of_eight_bits() -> None:
    found = LinearMap(torch.randn(3, 7), torch.randn(5, 3), torch.randn(5))
    small = quantized(found)
    assert {part: (x.dtype, tuple(x.shape)) for part, x in small._asdict().items()} == {
        "down": (torch.int8, (3, 7)), "inputs": (torch.float32, (7,)),
        "hidden": (torch.float32, (3,)), "up": (torch.int8, (5, 3)),
        "outcomes": (torch.float32, (5,)), "bias": (torch.float32, (5,))}
    # Every row and column of down, and every column of up, goes up to the largest number.
    assert (small.down.abs().amax(0) == 127).all() and (small.up.abs().amax(0) == 127).all()
    again = as_linear(small)
    torch.testing.assert_close(again.up @ again.down, found.up @ found.down, atol=0.1, rtol=0.1)
    assert torch.equal(again.bias, found.bias) and as_linear(found) is found


@pytest.mark.parametrize("of", [0.0, 1e-30])
def test_scales_are_above_0_where_there_is_nothing(of: float) -> None:
    found = LinearMap(of * torch.randn(3, 7), torch.randn(5, 3), torch.zeros(5))
    found.down[:, 2] = found.down[1] = found.up[4] = 0
    scale = torch.ones(7)
    scale[5] = 0
    small = quantized(found, scale)
    for x in (small.inputs, small.hidden, small.outcomes):
        assert (x > 0).all() and x.isfinite().all()
    again = as_linear(small)
    torch.testing.assert_close(again.up @ again.down, found.up @ found.down, atol=0.05 * of, rtol=0)


def test_a_file_of_eight_bits_gives_back_what_was_saved(tmp_path: Path) -> None:
    own, path = maps(), tmp_path / "a.safetensors"
    own.save(path)
    found = Shortcuts.load(path)
    assert head_of(path)["version"] == "3" and found.identity == own.identity
    assert path.stat().st_size - found.nbytes < 4096
    for shortcut in FITTED:
        one = found.maps[shortcut]
        assert isinstance(one, QuantizedMap)
        assert all(map(torch.equal, one, own.maps[shortcut]))
        for dtype in (torch.float32, torch.bfloat16):
            placed = found.at(shortcut, CPU, dtype)
            down = one.down.double() * one.hidden.double()[:, None] * one.inputs.double()
            up = one.up.double() * one.outcomes.double()[:, None]
            for a, b in zip((placed.down, placed.up, placed.bias), (down, up, one.bias),
                            strict=True):
                assert a.dtype == dtype
                torch.testing.assert_close(a, b.to(dtype))
            assert found.at(shortcut, CPU, dtype) is placed
    few = found.only(FITTED[:1])
    assert few.nbytes == found.bytes_of(FITTED[:1]) < found.nbytes
    assert few.identity != found.identity != maps(seed=4).identity
    large = random_shortcuts("m", SHAPE, FITTED)
    assert own.nbytes < 0.75 * large.nbytes  # scales weigh more in a small model
    with pytest.raises(ValueError, match="some of the maps"):
        Shortcuts("m", own.directions, {FITTED[0]: own.maps[FITTED[0]],
                                        FITTED[1]: large.maps[FITTED[1]]})


@pytest.fixture(params=["in the box", "of 16 bits", "of 8 bits"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of maps."""
    if request.param == "in the box":
        return BOX
    path = tmp_path / "made.safetensors"
    random_shortcuts("m", SHAPE, FITTED, eight_bits=request.param == "of 8 bits").save(path)
    assert head_of(path)["version"] == ("3" if request.param == "of 8 bits" else "2")
    return path


def test_a_file_is_read_and_written_as_it_was(whole: Path, tmp_path: Path) -> None:
    found, stored = Shortcuts.load(whole), load_file(whole)
    assert found.maps and found.nbytes == sum(x.nbytes for x in stored.values())
    for shortcut, one in found.maps.items():
        for part, x in one._asdict().items():
            assert torch.equal(x, stored[f"{shortcut}.{part}"])
            assert x.dtype == stored[f"{shortcut}.{part}"].dtype
        if isinstance(one, LinearMap):
            placed = found.at(shortcut, CPU, torch.float32)
            assert all(torch.equal(getattr(placed, part), x.float())
                       for part, x in one._asdict().items())
    path = tmp_path / "again.safetensors"
    found.save(path)
    again = load_file(path)
    assert head_of(path) == head_of(whole) and path.stat().st_size == whole.stat().st_size
    assert again.keys() == stored.keys()
    assert all(x.dtype == stored[n].dtype and torch.equal(x, stored[n]) for n, x in again.items())


def test_a_file_of_a_wide_model_from_before_there_were_bounds(tmp_path: Path) -> None:
    """Its maps see the whole residual at the token itself, and a fifth of the width nearby."""
    width, codes, near = 640, 8, 128
    inputs = (2 * codes + near) * 9 + (near // 4) * 49 + width
    own = Shortcuts("m", {0: torch.randn(width, codes), 2: torch.randn(width, near)},
                    {FITTED[1]: LinearMap(torch.randn(3, inputs), torch.randn(width, 3),
                                          torch.randn(width))})
    own.save(tmp_path / "a.safetensors")
    assert head_of(tmp_path / "a.safetensors")["version"] == "2"
    assert Shortcuts.load(tmp_path / "a.safetensors").identity == own.identity


@pytest.mark.parametrize(("part", "change", "message"), [
    ("down", lambda x: x.float(), "is of torch.float32, expected torch.int8"),
    ("up", lambda x: x.half(), "is of torch.float16, expected torch.int8"),
    ("down", lambda x: x.to(torch.int32), "is of torch.int32"),
    ("inputs", lambda x: x.half(), "is of torch.float16, expected torch.float32"),
    ("hidden", lambda x: x.to(torch.int8), "is of torch.int8, expected torch.float32"),
    ("bias", lambda x: x.half(), "is of torch.float16"),
    ("inputs", lambda x: -x, "not above 0"),
    ("hidden", lambda x: 0 * x, "not above 0"),
    ("outcomes", lambda x: x * torch.nan, "not finite"),
    ("outcomes", lambda x: x * torch.inf, "not finite"),
    ("hidden", lambda x: x * 1e30, "too large"),
    ("outcomes", lambda x: x * 1e7, "too large"),
    ("bias", lambda x: x * torch.nan, "not finite"),
    ("inputs", lambda x: x[1:], "expected"),
    ("hidden", lambda x: x[:, None], "expected"),
    ("outcomes", lambda x: x.repeat(2), "expected"),
    ("down", lambda x: x[:, 1:], "expected"),
    ("down", lambda x: x[0, 0], "expected"),
    ("up", lambda x: x.T, "expected"),
    ("hidden", None, "consists of"),
    ("other", lambda x: torch.zeros(1), "consists of"),
    ("down", lambda x: x + 1, "not those that were written"),
    ("outcomes", lambda x: x * 1.01, "not those that were written"),
])
def test_damaged_maps_of_eight_bits_are_refused(tmp_path: Path, part: str,
                                                change: Callable[[Any], Tensor] | None,
                                                message: str) -> None:
    path = tmp_path / "bad.safetensors"
    own = maps()
    own.save(path)
    tensors, head, name = load_file(path), head_of(path), f"{FITTED[1]}.{part}"
    changed = change(tensors.get(name)) if change else None
    tensors.pop(name, None)
    if changed is not None:
        tensors[name] = changed.contiguous()
    save_file(tensors, path, head)
    with pytest.raises(ValueError, match=rf"bad\.safetensors.*{message}") as told:
        Shortcuts.load(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("version", "message"), [
    ("2", "consists of"), ("4", "reads '2' and '3'"), ("", "reads '2' and '3'")])
def test_the_head_must_say_what_the_file_holds(tmp_path: Path, version: str, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    maps().save(path)
    save_file(load_file(path), path, head_of(path) | {"version": version})
    with pytest.raises(ValueError, match=message):
        Shortcuts.load(path)
    random_shortcuts("m", SHAPE, FITTED).save(path)
    save_file(load_file(path), path, head_of(path) | {"version": "3"})
    with pytest.raises(ValueError, match="consists of"):
        Shortcuts.load(path)
