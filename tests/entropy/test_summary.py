from __future__ import annotations

import json
import math

import pytest
import torch

from tests.entropy.make import SCHEDULE, make_trace
from toprovar.entropy.statistics import low_entropy_ratio
from toprovar.entropy.summary import (
    LOWEST_SCORE,
    fit_layers,
    follow_table,
    map_stability,
    representative_scale,
    rho_table,
    score_layers,
    spread_of,
    summarise,
)
from toprovar.entropy.trace import TraceRecorder


def ratios(*means: float, prompts: int = 20, scatter: float = 0.05) -> torch.Tensor:
    noise = torch.randn(prompts, len(means), generator=torch.Generator().manual_seed(0))
    return torch.tensor(means) * (scatter * noise).exp()


def test_two_groups_of_layers_are_found() -> None:
    fit = fit_layers(ratios(400, 500, 450, 100, 90, 120))
    assert fit.layer_classes == ("global",) * 3 + ("detail",) * 3
    assert max(fit.layer_scores) == 1 and min(fit.layer_scores) == pytest.approx(LOWEST_SCORE)
    assert fit.layer_scores.index(1.0) == 4 and fit.ratio_reference == pytest.approx(90, rel=0.1)
    assert fit.principal_ratios[0].mean == pytest.approx(400, rel=0.05)
    assert fit.principal_ratios[0].sd == pytest.approx(0.05, rel=0.5)


def test_a_layer_that_prompts_disagree_on_is_ambiguous() -> None:
    values = ratios(400, 500, 100, 90, 200)
    values[::2, 4], values[1::2, 4] = 90, 500
    assert fit_layers(values).layer_classes == (
        "global", "global", "detail", "detail", "ambiguous"
    )


def test_layers_that_do_not_differ_have_no_class() -> None:
    assert set(fit_layers(ratios(100, 101, 99, scatter=0.5)).layer_classes) == {"ambiguous"}
    constant = fit_layers(torch.full((3, 4), 1e7))
    assert set(constant.layer_classes) == {"ambiguous"} and constant.beta == 0
    alone = fit_layers(torch.full((3, 1), 5.0))
    assert alone.layer_classes == ("ambiguous",)


def test_the_published_form_can_be_fitted_too() -> None:
    fit = fit_layers(ratios(1.1, 1.3, 8, 9, scatter=0.01), "raw")
    assert fit.layer_classes == ("detail", "detail", "global", "global")
    for mean, score in zip((1.1, 1.3, 8, 9), fit.layer_scores, strict=True):
        assert score == pytest.approx(math.exp(-fit.beta * (mean - 1)), rel=0.05)


def test_a_single_prompt_works() -> None:
    fit = fit_layers(ratios(400, 500, 100, prompts=1))
    assert fit.layer_classes == ("global", "global", "detail")


def test_spread_of() -> None:
    assert spread_of(torch.tensor([math.nan, math.nan])) is None
    one = spread_of(torch.tensor([2.0, math.nan]))
    assert one is not None and one.mean == 2 and one.sd == 0
    log = spread_of(torch.tensor([1.0, math.e**2]), log=True)
    assert log is not None and log.mean == pytest.approx(math.e)
    assert log.sd == pytest.approx(2**0.5)


def test_rho_table_is_the_mean_over_layers() -> None:
    trace = make_trace()
    table = rho_table(trace)
    assert table.shape == (3, 7) and table[:, 0].isnan().all()
    expected = sum(float(low_entropy_ratio(trace.map(4, n)[1])) for n in range(4)) / 4
    assert float(table[1, 4]) == pytest.approx(expected)


def test_maps_follow_their_predecessor() -> None:
    """Correlation with the scale before is 1 where each map is the last one, made larger."""
    recorder = TraceRecorder()
    base = torch.rand(2, 1, 4, 4)
    for scale in (2, 3, 4):
        grid = SCHEDULE.grids[scale]
        one = base
        for earlier in range(3, scale + 1):
            one = torch.nn.functional.interpolate(one, size=SCHEDULE.grids[earlier],
                                                  mode="bilinear", align_corners=False)
        recorder.record(scale, 0, grid, one.flatten(1))
    trace = recorder.trace(SCHEDULE, 1)
    torch.testing.assert_close(follow_table(trace, 4), torch.ones(2, 1).double())
    assert follow_table(trace, 2).shape == (2, 0)


def test_map_stability() -> None:
    one = torch.rand(1, 5, 5)
    assert map_stability(one.expand(4, 5, 5)) == pytest.approx(1)
    assert math.isnan(map_stability(one))
    assert abs(map_stability(torch.rand(12, 16, 16))) < 0.2


def test_representative_scale() -> None:
    """Of noise with the same order of layers everywhere, the earliest scale whose maps are large
    enough to show it; of one picture, which has no stability, the published place."""
    found = representative_scale(make_trace())
    assert 2 <= found < 6  # 4 tokens a side, and before the last
    assert representative_scale(make_trace(1)) == 3  # 6 of 13 is 3 of 7
    recorder = TraceRecorder()
    generator = torch.Generator().manual_seed(1)
    for scale in range(2, 7):
        tokens = SCHEDULE.tokens[scale]
        for layer in range(6):
            # Before scale 5 layers differ by chance, from there on by their number
            size = 0.01 * (layer + 1) if scale >= 5 else 0.01
            noise = size * torch.rand(20, tokens, generator=generator)
            recorder.record(scale, layer, SCHEDULE.grids[scale], 2 - noise)
    assert representative_scale(recorder.trace(SCHEDULE, 6)) == 5


def test_summary_is_json_and_can_be_scored_by_others() -> None:
    trace = make_trace()
    found = summarise(trace)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["scales"]["0"]["rho"] is None and told["layers"]["0"]["class"] == "global"
    alone = json.dumps(summarise(make_trace(1)).to_json(), allow_nan=False)
    assert json.loads(alone)["order_stability"] is None


def test_scores_by_a_calibration_use_its_numbers() -> None:
    from tests.entropy.test_calibration import make_entry

    entry = make_entry()
    fit = score_layers(ratios(100.0, 200, 400, 800, scatter=0), entry)
    assert fit.layer_scores == pytest.approx((1, 0.5, 0.25, 0.125))  # beta 1, reference 100
    assert fit.layer_classes == ("detail", "ambiguous", "ambiguous", "global")
    assert summarise(make_trace(), entry).representative == entry.representative_scale
