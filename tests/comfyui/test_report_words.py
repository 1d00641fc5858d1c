"""A run's time held against a dense one; no ComfyUI needed."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

from tests.comfyui.server import ROOT


def told(**values: Any) -> str:
    place = ROOT / "nodes" / "support" / "times.py"
    spec = importlib.util.spec_from_file_location("pack_times", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scales = [SimpleNamespace(seconds=0.05), SimpleNamespace(seconds=0.1)]
    return module.told_time(SimpleNamespace(**{
        "scales": scales, "dense_seconds": None, "dense_measured": False, "recorded_scales": 0,
    } | values))


@pytest.mark.parametrize(("values", "said"), [
    ({}, "0.150 s in the scale loop"),
    ({"dense_seconds": 0.3, "dense_measured": True},
     "0.150 s in the scale loop, 2.00 x as fast as dense (0.300 s, measured)"),
    ({"dense_seconds": 0.3},
     "0.150 s in the scale loop, 2.00 x as fast as dense (0.300 s, foreseen from this run's full "
     "scales)"),
    ({"dense_seconds": 0.12, "dense_measured": True},
     "0.150 s in the scale loop, slower than dense: 0.80 x as fast as dense (0.120 s, measured)"),
    ({"dense_seconds": 0.15, "dense_measured": True, "recorded_scales": 4},
     "0.150 s in the scale loop, 1.00 x as fast as dense (0.150 s, measured); 4 scales were "
     "recorded for later runs, which takes time once"),
    ({"scales": [], "dense_seconds": 0.3}, "0.000 s in the scale loop"),
])
def test_time_beside_dense(values: dict[str, Any], said: str) -> None:
    assert told(**values) == said
