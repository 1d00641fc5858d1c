from __future__ import annotations

import json
from typing import Any

import pytest

from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.schedules import get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")


def test_numbers_stand_for_every_scale() -> None:
    params = SamplingParams(SCHEDULE, 4, (1.0,) * 7)
    assert params.cfg_list == (4.0,) * 7
    assert params.guided and not SamplingParams(SCHEDULE, 1).guided
    assert SamplingParams(SCHEDULE, (1, 1, 1, 1, 1, 1, 2)).guided


@pytest.mark.parametrize(("changes", "message"), [
    ({"cfg": (1.0, 2.0)}, "cfg has 2 entries, but the schedule has 7 scales"),
    ({"tau": 0}, "tau must be above 0"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"mode": "best"}, "mode must be"),
    ({"cfg_insertion_layer": (1,)}, "cfg_insertion_layer"),
    ({"cfg_insertion_layer": ()}, "cfg_insertion_layer"),
])
def test_bad_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingParams(SCHEDULE, **changes)


def test_layer_zero_cannot_be_mixed() -> None:
    params = SamplingParams(SCHEDULE, cfg_insertion_layer=(-2, 0))
    assert params.mixing_layers(4) == {2}
    with pytest.raises(ValueError, match="use -1 to -1"):
        params.mixing_layers(2)


def test_json_form() -> None:
    values = json.loads(json.dumps(SamplingParams(SCHEDULE, 3).to_json()))
    assert values["schedule"]["pn"] == "0.06M" and values["cfg"] == [3.0] * 7


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="attention backend"):
        EngineOptions(attention_backend="fa9")
