"""The address at which the planner's widget has an edited plan counted."""

from __future__ import annotations

import json
import urllib.error

import pytest

from tests.comfyui.client import Client
from tests.tiny import tiny_transformer
from toprovar.edited_cost import counted_for, edited_flop_share
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan_file import plan_to_json
from toprovar.sparsity.strategies.fastvar import fastvar_plan


def test_the_server_counts_edited_plans(client: Client) -> None:
    shape = tiny_transformer().shape
    plan = fastvar_plan(shape, get_schedule("1.0", "0.06M"))
    asked = {"plan": plan_to_json(plan), "edits": '{"run": {"6": false}}',
             **counted_for(shape, True)}
    told = json.loads(client.post("/toprovar/plan_cost", asked))
    assert told == {"flop_share": edited_flop_share(asked)} and told["flop_share"] < 0.6
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.post("/toprovar/plan_cost", asked | {"edits": '{"run": {"60": false}}'})
    assert refused.value.code == 400
    assert "edits name scale 60" in json.loads(refused.value.read())["error"]
