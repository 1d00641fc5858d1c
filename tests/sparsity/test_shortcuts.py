"""Shortcuts as values and files, and plans that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.sparsity.test_toprovar import SCHEDULE, SHAPE
from toprovar.analysis.choices import choice_plan, explore
from toprovar.files import DATA
from toprovar.sparsity.cost import WorkTable, count
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan
from toprovar.sparsity.plan_file import plan_from_json, plan_to_json
from toprovar.sparsity.plan_table import plan_table
from toprovar.sparsity.shortcuts import Shortcuts, find_shortcuts, predict, register_shortcuts

WIDTH = SHAPE.width


def maps(*lengths: int, width: int = WIDTH, model: str = "m") -> Shortcuts:
    generator = torch.Generator().manual_seed(3)
    return Shortcuts(model, {
        n: (torch.randn(width, 2 * width, generator=generator) * 0.1,
            torch.randn(width, generator=generator)) for n in lengths}, {"pictures": 7})


def step(s: int, keep: list[int], **more: Any) -> ScalePlan:
    return ScalePlan(grid=SCHEDULE.grids[s], keep=tuple(keep), **more)


def plan_of(**steps: ScalePlan) -> SparsityPlan:
    """Full scales, but those of ``steps`` (s4 = scale 4)."""
    scales = tuple(steps.get(f"s{s}") or step(s, [n] * SHAPE.depth)
                   for s, n in enumerate(SCHEDULE.tokens))
    return SparsityPlan(strategy="own", model=ModelTag.of(SHAPE), schedule="", scales=scales,
                        shortcuts="abc")


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    own = maps(1, 2)
    own.save(tmp_path / "a.safetensors")
    found = Shortcuts.load(tmp_path / "a.safetensors")
    assert found.identity == own.identity and found.lengths == (1, 2) and found.model == "m"
    assert found.about == {"pictures": 7}
    for n in (1, 2):
        for a, b in zip(own.maps[n], found.maps[n], strict=True):
            assert torch.equal(a, b)
    assert maps(1, 2, model="other").identity != own.identity != maps(1).identity


def test_a_prediction_is_the_affine_map_of_both_inputs() -> None:
    own = maps(2)
    x, before = torch.randn(2, 5, WIDTH), torch.randn(2, 5, WIDTH)
    weight, bias = own.at(2, torch.device("cpu"), torch.float64)
    expected = x.double() @ weight[:, :WIDTH].T + before.double() @ weight[:, WIDTH:].T + bias
    torch.testing.assert_close(predict(x.double(), before.double(), weight, bias), expected)
    assert own.at(2, torch.device("cpu"), torch.float64)[0] is weight  # at one address


@pytest.mark.parametrize("harm", ["cut", "text", "other", "numbers", "name", "shape"])
def test_files_that_are_none_are_refused_by_name(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "bad.safetensors"
    own = maps(1)
    own.save(path)
    content = path.read_bytes()
    head = {"format": "toprovar-shortcuts", "version": "1", "model": "m", "identity": own.identity}
    tensors = {"1.weight": own.maps[1][0], "1.bias": own.maps[1][1]}
    if harm == "cut":
        path.write_bytes(content[:-10])
    elif harm == "text":
        path.write_text("hello")
    elif harm == "other":
        save_file(tensors, path)
    elif harm == "numbers":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif harm == "name":
        save_file(tensors | {"2.weight": tensors["1.weight"] + 0}, path, head)
    else:
        save_file(tensors | {"1.bias": torch.zeros(WIDTH + 1)}, path, head)
    with pytest.raises(ValueError, match=r"bad\.safetensors.*toprovar analyze"):
        Shortcuts.load(path)


def test_numbers_must_be_finite_and_fit() -> None:
    with pytest.raises(ValueError, match="finite"):
        Shortcuts("m", {1: (torch.full((2, 4), torch.inf), torch.zeros(2))})
    with pytest.raises(ValueError, match="expected"):
        Shortcuts("m", {1: (torch.zeros(2, 3), torch.zeros(2))})
    with pytest.raises(ValueError, match="of the model m"):
        maps(1).check_fits(SHAPE, {1}, "another")
    with pytest.raises(ValueError, match=r"leave out \[2\]"):
        maps(1).check_fits(SHAPE, {2}, "m")
    with pytest.raises(ValueError, match="width"):
        maps(1, width=WIDTH + 1).check_fits(SHAPE, {1}, "m")


def test_where_a_plans_maps_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    own = maps(1, model="elsewhere")
    with pytest.raises(ValueError, match=str(tmp_path)):
        find_shortcuts(own.identity)
    (tmp_path / "calibrations").mkdir()
    (tmp_path / "calibrations" / "junk.safetensors").write_text("no file of shortcuts")
    own.save(tmp_path / "calibrations" / "mine.safetensors")
    assert find_shortcuts(own.identity).model == "elsewhere"
    other = maps(2, model="registered")
    register_shortcuts(other)
    assert find_shortcuts(other.identity) is other


def test_the_box_holds_those_that_its_calibration_names() -> None:
    from toprovar.entropy.calibration import Calibration

    known = Calibration.load(DATA / "calibrations" / "infinity-emoji.json")
    assert known.shortcuts is not None
    found = find_shortcuts(known.shortcuts)
    assert found.model == known.model
    used = {n for e in known.entries.values() for c in e.choices for _, n in c.shortcuts}
    assert used and used <= set(found.lengths)


@pytest.mark.parametrize(("steps", "message"), [
    ({5: ([0, 144, 144], {"shortcut": 2})}, "keep 0 tokens"),
    ({5: ([0, 0, 0], {"shortcut": 3})}, "one more is run"),
    ({0: ([0, 1, 1], {"shortcut": 1})}, "no earlier scale"),
    ({4: ([0, 0, 64], {"shortcut": 2}), 5: ([0, 144, 144], {"shortcut": 1})}, "not known there"),
    ({4: ([30, 30, 64], {"dropped": "shortcut"}), 5: ([0, 144, 144], {"shortcut": 1})},
     "not known there"),
    ({5: ([50, 50, 50], {"dropped": "shortcut"})}, "then all"),
    ({5: ([50, 60, 144], {"dropped": "shortcut"})}, "then all"),
    ({5: ([144, 144, 144], {"dropped": "shortcut"})}, "then all"),
    ({5: ([50, 144, 144], {"dropped": "shortcut", "per": "sublayer", "rule": "random"})}, "per"),
    ({5: ([50, 144, 144], {"dropped": "shortcut", "guide": (3,)})}, "guide"),
])
def test_unsound_plans_are_refused(steps: dict[int, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**{f"s{s}": step(s, keep, **more) for s, (keep, more) in steps.items()})


def test_a_plan_says_where_its_shortcuts_start_from() -> None:
    plan = plan_of(s4=step(4, [0, 64, 64], shortcut=1), s5=step(5, [144] * 3, run=False),
                   s6=step(6, [0, 100, 256], shortcut=1, dropped="shortcut", guide=(2,)))
    assert plan.shortcut_sources == (None, None, None, None, 3, None, 4)
    assert plan.passed_on == {(3, 0), (4, 0), (4, 1)}
    assert plan.scales[6].rejoin == 2 and plan.scales[6].guided_by(2)
    assert plan.measured == {(4, 2)}
    assert plan_from_json(plan_to_json(plan)) == plan
    shown = plan_table(plan)
    assert "shortcut to layer 1" in shown and "the others by shortcut to layer 2" in shown
    with pytest.raises(ValueError, match="does not say of which maps"):
        plan_from_json({k: v for k, v in plan_to_json(plan).items() if k != "shortcuts"})


def test_what_shortcuts_cost() -> None:
    plan = choice_plan(SHAPE, SCHEDULE, 4, (), ((5, 1), (6, 2)), identity="abc")
    own = WorkTable.of(plan)
    assert own.jumps.flatten().tolist() == [0, 0, 0, 0, 0, 1, 1]
    bare = count(plan.model_copy(update={"shortcuts": "abc"}), SHAPE).flops
    work = own.scale_flops(SHAPE)
    products = 2 * WIDTH * 2 * WIDTH
    without = WorkTable.of(SparsityPlan.model_validate(plan.model_dump() | {"scales": tuple(
        s.model_copy(update={"shortcut": 0}) for s in plan.scales)})).scale_flops(SHAPE)
    assert (work - without).tolist() == [0] * 5 + [144 * products, 256 * products]
    assert bare == work.sum()
    mixed = plan_of(s6=step(6, [100, 256, 256], dropped="shortcut"))
    assert WorkTable.of(mixed).jumps[6] == 1


def test_choices_with_shortcuts_are_tried_from_the_last_scale_on() -> None:
    """Longer shortcuts lose more; each is tried only where the scales after it skip as much."""
    asked: list[SparsityPlan] = []

    def measure(plan: SparsityPlan) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(plan)
        lost = sum(0.01 * s.shortcut + 0.2 * (not s.run) for s in plan.scales)
        lost += 0.3 * sum(not s.unconditional for s in plan.scales)
        return torch.tensor([1 - lost]), torch.tensor([1 - lost / 2])

    found = explore(SHAPE, SCHEDULE, measure, 64, maps(1, 2))
    assert any(c.shortcuts == ((6, 1),) for c in found)
    assert any(c.shortcuts == ((5, 2), (6, 2)) for c in found)
    for choice in found:
        own = dict(choice.shortcuts)
        lengths = [own[s] for s in sorted(own) if s not in choice.skipped]
        assert lengths == sorted(lengths)
        assert not {s for s, _ in choice.shortcuts} & set(choice.skipped)
        if own and 6 not in choice.skipped:
            assert 6 in own
    assert {plan.shortcuts for plan in asked} == {None, maps(1, 2).identity}
    assert not any(c.shortcuts for c in explore(SHAPE, SCHEDULE, measure, 64))
