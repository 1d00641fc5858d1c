from __future__ import annotations

import io
import math
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from toprovar.figures.colours import WORK, coloured
from toprovar.models.config import TransformerConfig
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import CostModel, count, predict
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.plan_picture import (
    LEFT,
    ROW,
    cost_words,
    kept_shares,
    plan_picture,
    plan_png,
    scale_shares,
)
from toprovar.sparsity.plan_table import (
    _ranges,
    _sign,
    percent,
    plan_differences,
    plan_table,
    table,
)
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan

SHAPE = TransformerConfig(depth=8, width=64, num_heads=4, bits_per_token=8)
SCHEDULE = get_schedule("1.0", "0.06M")
COSTS = CostModel(device="an abacus", dtype="float32", block=1e-3, token=1e-5, pair=1e-8)
FASTVAR = predict(fastvar_plan(SHAPE, SCHEDULE, (0.25, 1.0)), SHAPE, COSTS)
UNGUIDED = skipvar_plan(SHAPE, SCHEDULE, uncond=2)


def row(plan: SparsityPlan, scale: int) -> str:
    lines = plan_table(plan).splitlines()
    return next(line for line in lines if line.strip().startswith(f"{scale}  "))


def test_a_line_tells_what_its_scale_does() -> None:
    assert row(FASTVAR, 0).split() == ["0", "1x1", "1", *["100", "%"] * 3, "########"]
    # Layers 1 to 7 of 8 keep 108 of 144 tokens: seven eighths of 75 % and one of 100 %.
    assert row(FASTVAR, 5).split()[:9] == ["5", "12x12", "144", "75", "%", "78", "%", "100", "%"]
    assert "#8888888" in row(FASTVAR, 5) and "variance per sub-layer" in row(FASTVAR, 5)
    assert "cached from scale 4, area" in row(FASTVAR, 5)
    assert row(FASTVAR, 6).endswith("........  not run")
    assert row(UNGUIDED, 6).endswith("no guidance") and not row(UNGUIDED, 4).endswith("guidance")


def test_cost_and_notes_are_told() -> None:
    text = plan_table(FASTVAR)
    cost = FASTVAR.predicted
    assert cost and cost.speedup
    assert f"{cost.flop_share:.0%}".replace("%", " %") in text
    assert f"speed-up {cost.speedup:.2f} x" in text and "an abacus" in text
    assert all(f"note: {note}" in text for note in FASTVAR.notes) and FASTVAR.notes
    assert "predicted" not in plan_table(UNGUIDED)
    assert max(len(line) for line in text.splitlines() if line.startswith("settings")) <= 100
    assert text.isascii()


@pytest.mark.parametrize(("share", "text"), [
    (1, "100 %"), (0.9999, "99.9 %"), (0.996, "99.6 %"), (0.5, "50 %"), (0.004, "<1 %"), (0, "0 %"),
])
def test_all_and_nothing_are_exact(share: float, text: str) -> None:
    assert percent(share) == text


def test_signs_and_ranges() -> None:
    assert [_sign(n, 1000) for n in (0, 1, 449, 451, 999, 1000)] == [".", "1", "4", "5", "9", "#"]
    assert _ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8" and _ranges([]) == ""


def test_columns_are_aligned() -> None:
    lines = table(("a", "long head"), [("x", "1"), ("yyy", "22")], left=(0,))
    assert lines == ["a    long head", "x            1", "yyy         22"]


def test_equal_plans_do_not_differ() -> None:
    again = SparsityPlan.model_validate_json(FASTVAR.model_dump_json())
    assert plan_differences(FASTVAR, again) == []


def test_every_difference_is_named() -> None:
    other = predict(fastvar_plan(SHAPE, SCHEDULE, (0.5, 0.5), layers=(2, 3)), SHAPE)
    lines = plan_differences(FASTVAR, other)
    assert "parameter drop: [0.25, 1.0] -> [0.5, 0.5]" in lines
    assert "parameter layers: [1, 7] -> [2, 3]" in lines
    assert "scale 5: kept 78 % -> 88 % on average (layers 1-7)" in lines
    assert "scale 6: not run -> run" in lines
    assert not any(line.startswith(("scale 0", "scale 4", "strategy", "model")) for line in lines)
    assert any(line.endswith("on an abacus -> unknown") for line in lines)
    assert any(line.startswith("note only in the first") for line in lines)

    lines = plan_differences(dense_plan(SHAPE, SCHEDULE), UNGUIDED)
    assert lines[0] == "strategy: dense -> skipvar"
    assert "scale 6: unconditional True -> False" in lines

    wide = TransformerConfig(depth=8, width=128, num_heads=4, bits_per_token=8)
    lines = plan_differences(dense_plan(SHAPE, SCHEDULE),
                             dense_plan(wide, get_schedule("1.333", "0.25M")))
    assert "model width: 64 -> 128" in lines and "scales: 7 -> 10" in lines
    assert "schedule: 0.06M 1.0 -> 0.25M 1.333" in lines
    assert any(line.startswith("scale 6: grid 16x16 -> 20x15") for line in lines)


@pytest.mark.parametrize("plan", [FASTVAR, UNGUIDED, dense_plan(SHAPE, SCHEDULE)],
                         ids=lambda p: p.strategy)
def test_bars_of_the_picture_add_up_to_the_cost(plan: SparsityPlan) -> None:
    own, dense = scale_shares(plan)
    assert sum(dense) == pytest.approx(1)
    assert sum(own) == pytest.approx(count(plan, SHAPE).flop_share, abs=0.01)  # head left out
    for step, share, whole in zip(plan.scales, own, dense, strict=True):
        assert (share == 0) == (not step.run) and share <= whole


def test_the_picture() -> None:
    image = Image.open(io.BytesIO(plan_png(FASTVAR)))
    assert image.format == "PNG" and min(image.size) > 300 and image.info["toprovar"] == "{}"
    told = kept_shares(FASTVAR)
    assert len(told) == 7 and told[5][3] == 108 / 144
    assert all(math.isnan(share) for share in told[6]) and not any(map(math.isnan, told[5]))
    words = cost_words(UNGUIDED)
    assert [w.endswith("no guidance") for w in words] == [False] * 5 + [True] * 2
    assert cost_words(FASTVAR)[6].startswith("0 of ")


def test_cells_have_the_colours_of_their_shares() -> None:
    """Where a layer keeps 75 %, half or nothing, and where the scale is not run."""
    picture = plan_picture(FASTVAR)
    column = min(34.0, 620 / 8)
    top = picture.height / 2 - 56 - 7 * ROW

    def cell(scale: int, layer: int) -> Any:
        return picture.getpixel((round(2 * (LEFT + (layer + 0.3) * column)),
                                 round(2 * (top + (scale + 0.3) * ROW))))

    for scale, layer, share in ((0, 0, 1.0), (5, 0, 1.0), (5, 3, 0.75)):
        assert cell(scale, layer) == coloured([[share]], WORK).getpixel((0, 0))
    assert min(cell(6, 0)) > 200  # pale, with hatches


def test_pictures_need_no_matplotlib() -> None:
    code = ("import sys; sys.modules['matplotlib'] = None\n"
            "import toprovar.cli.plan\n"
            "from toprovar.sparsity.plan_picture import plan_png\n"
            "from tests.sparsity.test_plan_table import FASTVAR\n"
            "assert plan_png(FASTVAR)")
    subprocess.run([sys.executable, "-c", code], check=True)
