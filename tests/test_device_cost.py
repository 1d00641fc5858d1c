from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_transformer
from toprovar import device_cost
from toprovar.device_cost import _fit, cost_model_for, measure
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.strategies.fastvar import fastvar_plan

SCHEDULE = get_schedule("1.0", "0.06M")


def test_the_fit_finds_what_made_the_numbers() -> None:
    rows = [[1.0, n, n * m] for n in (1, 10, 100) for m in (10, 1000)]
    found, error = _fit(rows, [0.5 + 0.01 * n + 1e-4 * p for _, n, p in rows])
    assert found == pytest.approx((0.5, 0.01, 1e-4)) and error < 1e-6


def test_coefficients_are_never_negative() -> None:
    found, _ = _fit([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]], [3.0, 2.0, 1.0])
    assert found[1] == 0 and found[0] > 0


def test_a_measured_model_orders_plans() -> None:
    model, schedule = tiny_transformer(), SCHEDULE
    cost = measure(model, schedule)
    assert cost.device and cost.dtype == "float32"
    dense = cost.seconds(dense_plan(model.shape, schedule))
    assert 0 < cost.seconds(fastvar_plan(model.shape, schedule)) < dense


def test_a_measurement_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path / "new"))
    model = tiny_transformer()
    first = cost_model_for(model, SCHEDULE)
    files = list((tmp_path / "new").iterdir())
    assert len(files) == 1
    monkeypatch.setattr(device_cost, "measure", lambda *a: pytest.fail("measured again"))
    assert cost_model_for(model, SCHEDULE) == first
    monkeypatch.undo()
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path / "new"))
    files[0].write_text("{", encoding="utf-8")  # damaged: measured again
    assert cost_model_for(model, SCHEDULE).device == first.device
    assert files[0].read_text(encoding="utf-8").startswith("{\n")
