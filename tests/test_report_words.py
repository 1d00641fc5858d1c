"""A run's time held against a dense one, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from toprovar.report_words import told_time
from toprovar.sampling.report import RunReport


def told(**values: Any) -> str:
    scales = [SimpleNamespace(seconds=0.05), SimpleNamespace(seconds=0.1)]
    return told_time(cast(RunReport, SimpleNamespace(**{
        "scales": scales, "dense_seconds": None, "dense_measured": False, "recorded_scales": 0,
        "source": None,
    } | values)))


@pytest.mark.parametrize(("values", "said"), [
    ({}, "0.150 s in the scale loop"),
    ({"dense_seconds": 0.3, "dense_measured": True},
     "0.150 s in the scale loop, 2.00 x as fast as dense (0.300 s, measured)"),
    ({"dense_seconds": 0.3},
     "0.150 s in the scale loop, 2.00 x as fast as dense (0.300 s, estimated from this run's full "
     "scales)"),
    ({"dense_seconds": 0.12, "dense_measured": True},
     "0.150 s in the scale loop, slower than dense: 0.80 x as fast as dense (0.120 s, measured)"),
    ({"dense_seconds": 0.15, "dense_measured": True, "recorded_scales": 4},
     "0.150 s in the scale loop, 1.00 x as fast as dense (0.150 s, measured); 4 scales were "
     "recorded for later runs, which takes time once"),
    ({"source": SimpleNamespace(seconds=0.02)}, "0.170 s in the scale loop"),
    ({"scales": [], "dense_seconds": 0.3}, "0.000 s in the scale loop"),
])
def test_time_beside_dense(values: dict[str, Any], said: str) -> None:
    assert told(**values) == said
