"""Shortcuts as values and files, and plans that use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.random_shortcuts import random_shortcuts
from tests.sparsity.test_toprovar import SCHEDULE, SHAPE
from toprovar.analysis.choices import State, choice_plan
from toprovar.files import DATA
from toprovar.ops.resize_tokens import resize_tokens
from toprovar.sparsity.cost import WorkTable, count
from toprovar.sparsity.linear_shortcut import INPUT, LinearShortcut
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan
from toprovar.sparsity.plan_file import plan_from_json, plan_to_json
from toprovar.sparsity.plan_table import plan_table
from toprovar.sparsity.shortcut_inputs import Sizes, surroundings
from toprovar.sparsity.shortcuts import Shortcuts, find_shortcuts, predict, register_shortcuts

WIDTH = SHAPE.width


FITTED = tuple(LinearShortcut(s - gap, s, n) for s in (4, 5, 6) for gap in (1, 2) for n in (1, 2))
CPU = torch.device("cpu")


def maps(*linear_shortcuts: LinearShortcut, model: str = "m", seed: int = 3) -> Shortcuts:
    return random_shortcuts(model, SHAPE, linear_shortcuts or FITTED, seed=seed)


def step(s: int, keep: list[int], **more: Any) -> ScalePlan:
    return ScalePlan(grid=SCHEDULE.grids[s], keep=tuple(keep), **more)


def plan_of(**steps: ScalePlan) -> SparsityPlan:
    """Full scales, but those of ``steps`` (s4 = scale 4)."""
    scales = tuple(steps.get(f"s{s}") or step(s, [n] * SHAPE.depth)
                   for s, n in enumerate(SCHEDULE.tokens))
    return SparsityPlan(strategy="own", model=ModelTag.of(SHAPE), schedule="", scales=scales,
                        shortcuts="abc")


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    own = maps()
    own.save(tmp_path / "a.safetensors")
    found = Shortcuts.load(tmp_path / "a.safetensors")
    assert found.identity == own.identity and found.lengths == (1, 2) and found.model == "m"
    assert found.about == {"seed": 3} and set(found.maps) == set(FITTED)
    for shortcut in FITTED:
        for a, b in zip(own.maps[shortcut], found.maps[shortcut], strict=True):
            assert torch.equal(a, b)
    assert set(found.directions) == {0, 1, 2}
    assert maps(model="other").identity != own.identity != maps(seed=4).identity


def test_only_those_that_are_needed_are_kept() -> None:
    own = maps()
    own.about["explained"] = {str(shortcut): 0.5 for shortcut in FITTED}
    few = own.only([FITTED[0]])
    assert set(few.maps) == {FITTED[0]} and set(few.directions) == {0, FITTED[0].length}
    assert few.about["explained"] == {str(FITTED[0]): 0.5} and few.identity != own.identity
    assert torch.equal(few.maps[FITTED[0]].down, own.maps[FITTED[0]].down)
    assert own.only(FITTED).identity == own.identity


def test_surroundings_are_the_tokens_around_each_one() -> None:
    grid = (3, 5)
    x = torch.randn(2, 15, 4)
    found = surroundings(x, grid, 3).unflatten(1, (4, 3, 3))
    image = x.unflatten(1, grid)
    for row in range(3):
        for column in range(5):
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    there = image[:, min(max(row + down, 0), 2), min(max(column + across, 0), 4)]
                    assert torch.equal(found[:, :, down + 1, across + 1, 5 * row + column], there)


@pytest.mark.parametrize(("rows", "width"), [(1, WIDTH), (3, WIDTH), (2, 640)])
def test_a_prediction_by_its_definition(rows: int, width: int) -> None:
    shortcut, old, grid = LinearShortcut(4, 5, 2), (8, 8), (12, 12)
    shape = replace(SHAPE, width=width, pool_heads=0, mlp_hidden=0)
    own = random_shortcuts("m", shape, FITTED)
    placed = own.at(shortcut, CPU, torch.float64)
    x = torch.randn(rows, 144, width, dtype=torch.float64)
    given, before = torch.randn(2, rows, 64, width, dtype=torch.float64)
    here, there = (resize_tokens(t, old, grid, "bilinear") for t in (before, given))
    seen = here @ placed.directions
    parts = [surroundings(t, grid, side).transpose(1, 2) for t, side in (
        (x @ placed.codes, 3), (there @ placed.codes, 3))]
    near = round(width / 5)
    parts += [seen if width == 640 else here,  # of wide models all directions at the token itself
              surroundings(seen[..., :near], grid, 3).transpose(1, 2),
              surroundings(seen[..., : max(1, near // 4)], grid, 7).transpose(1, 2)]
    inputs = torch.cat(parts, -1)
    assert inputs.shape[-1] == Sizes.of(shape).inputs == placed.down.shape[1]
    expected = here + inputs @ (placed.up @ placed.down).T + placed.bias
    torch.testing.assert_close(predict(x, given, before, old, grid, placed), expected)
    assert placed is own.at(shortcut, CPU, torch.float64)  # at one address
    others = own.at(LinearShortcut(3, 5, 2), CPU, torch.float64)
    assert others.directions is placed.directions and others.codes is placed.codes


@pytest.mark.parametrize("harm", ["cut", "text", "other", "old", "numbers", "name", "part", "none",
                                  "shape", "directions", "empty"])
def test_files_that_are_none_are_refused_by_name(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "bad.safetensors"
    own = maps(FITTED[0])
    own.save(path)
    content, tensors = path.read_bytes(), load_file(path)
    head = {"format": "toprovar-shortcuts", "version": "2", "model": "m", "identity": own.identity}
    bias = f"{FITTED[0]}.bias"
    if harm == "cut":
        path.write_bytes(content[:-10])
    elif harm == "text":
        path.write_text("hello")
    elif harm == "other":
        save_file(tensors, path)
    elif harm == "old":
        save_file(tensors, path, head | {"version": "1"})
    elif harm == "numbers":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif harm == "name":
        save_file(tensors | {"elsewhere": torch.zeros(1)}, path, head)
    elif harm == "part":
        save_file({n: x for n, x in tensors.items() if n != bias}, path, head)
    elif harm == "none":
        save_file({n.replace(str(FITTED[0]), "5-5-1"): x for n, x in tensors.items()}, path, head)
    elif harm == "shape":
        save_file(tensors | {bias: torch.zeros(WIDTH + 1)}, path, head)
    elif harm == "directions":
        save_file({n: x for n, x in tensors.items() if n != "directions.0"}, path, head)
    else:
        save_file({"directions.0": tensors["directions.0"]}, path, head)
    with pytest.raises(ValueError, match=r"bad\.safetensors.*toprovar analyze"):
        Shortcuts.load(path)


def test_numbers_must_be_finite_and_fit() -> None:
    own = maps(FITTED[0])
    found = own.maps[FITTED[0]]
    with pytest.raises(ValueError, match="finite"):
        Shortcuts("m", own.directions, {FITTED[0]: found._replace(
            bias=torch.full_like(found.bias, torch.inf))})
    with pytest.raises(ValueError, match="expected"):
        Shortcuts("m", own.directions, {FITTED[0]: found._replace(up=found.up[:, 1:])})
    with pytest.raises(ValueError, match="directions"):
        Shortcuts("m", {0: own.directions[0]}, own.maps)
    with pytest.raises(ValueError, match="of the model m"):
        own.check_fits(SHAPE, {FITTED[0]}, "another")
    with pytest.raises(ValueError, match=f"shortcut {FITTED[1]}, which"):
        own.check_fits(SHAPE, {FITTED[1]}, "m")
    with pytest.raises(ValueError, match="width"):
        wide = replace(SHAPE, width=2 * WIDTH, pool_heads=0, mlp_hidden=0)
        own.check_fits(wide, {FITTED[0]}, "m")


def test_where_a_plans_maps_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    own = maps(model="elsewhere")
    with pytest.raises(ValueError, match=str(tmp_path)):
        find_shortcuts(own.identity)
    (tmp_path / "calibrations").mkdir()
    (tmp_path / "calibrations" / "junk.safetensors").write_text("no file of shortcuts")
    own.save(tmp_path / "calibrations" / "mine.safetensors")
    assert find_shortcuts(own.identity).model == "elsewhere"
    other = maps(model="registered")
    register_shortcuts(other)
    assert find_shortcuts(other.identity) is other


def test_the_box_holds_those_that_its_calibration_names() -> None:
    from toprovar.entropy.calibration import Calibration

    known = Calibration.load(DATA / "calibrations" / "infinity-emoji.json")
    assert known.shortcuts is not None
    found = find_shortcuts(known.shortcuts)
    assert found.model == known.model and found.identity == known.shortcuts
    used = {one for e in known.entries.values() for c in e.choices
            for one in State.of(c).linear_shortcuts}
    assert used == set(found.maps)


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
    assert [one.source for one in plan.compiled.scales] == [None, None, None, None, 3, None, 4]
    assert plan.compiled.linear_shortcuts == {
        LinearShortcut(3, 4, 1), LinearShortcut(4, 6, 1), LinearShortcut(4, 6, 2)}
    assert plan.compiled.where("passed_on") == {(3, INPUT), (3, 0), (4, INPUT), (4, 0), (4, 1)}
    assert plan.scales[6].rejoin == 2 and plan.scales[6].guided_by(2)
    assert plan.compiled.where("measured") == {(4, 2)}
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
    sizes = Sizes.of(SHAPE)
    products = 2 * (WIDTH * (2 * sizes.codes + sizes.directions)
                    + sizes.rank * (sizes.inputs + WIDTH))
    without = WorkTable.of(SparsityPlan.model_validate(plan.model_dump() | {"scales": tuple(
        s.model_copy(update={"shortcut": 0}) for s in plan.scales)})).scale_flops(SHAPE)
    assert (work - without).tolist() == [0] * 5 + [144 * products, 256 * products]
    assert bare == work.sum()
    mixed = plan_of(s6=step(6, [100, 256, 256], dropped="shortcut"))
    assert WorkTable.of(mixed).jumps[6] == 1
