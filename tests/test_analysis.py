"""Analysis and calibration on the embedded model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from toprovar import InfinityPipeline, bundled_model
from toprovar.analysis import Result, analyze, calibrate
from toprovar.analysis.threshold import PUBLISHED_TAU, balanced_accuracy, fit_threshold
from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.entropy.trace import EntropyTrace, TraceRecorder
from toprovar.evaluation.metrics import ssim
from toprovar.models.fingerprint import model_fingerprint
from toprovar.ops.attention.reference import entropy
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.shortcuts import find_shortcuts

SMALL = get_schedule("1.0", "0.06M")
PROMPTS = ["a red apple", "a cat and a dog"]


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class ReferenceEntropy(LayerProbe):
    """Entropies by their definition, in float64, beside the run."""

    def __init__(self, images: int) -> None:
        self.images, self.maps = images, dict[tuple[int, int], Tensor]()

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        self.maps[scale, layer] = entropy(q[: self.images], k[: self.images], 1.0)


@pytest.mark.parametrize("heads", [False, True])
def test_the_trace_holds_the_entropies_of_the_conditional_rows(
    pipeline: InfinityPipeline, heads: bool
) -> None:
    probe, recorder = ReferenceEntropy(2), TraceRecorder(heads=heads)
    run = SamplingRun(
        pipeline.transformer, pipeline.encode_prompt(PROMPTS), SamplingParams(SMALL, cfg=3.0),
        generators=torch.Generator().manual_seed(0), probe=probe, watch=recorder,
    )
    for _ in run:
        pass
    trace = recorder.trace(SMALL, pipeline.transformer.shape.depth)
    assert trace.maps.keys() == probe.maps.keys() and len(trace.maps) == 7 * 10
    for place, expected in probe.maps.items():
        found = trace.maps[place].flatten(-2)
        expected = expected if heads else expected.mean(1)
        torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=0)
    assert trace.keys[6, 0] == 521


def test_measuring_does_not_change_the_picture(pipeline: InfinityPipeline) -> None:
    def latents(watch: TraceRecorder | None) -> Tensor:
        return pipeline(PROMPTS[0], seed=1, schedule=SMALL, output_type="latent",
                        watch=watch).images

    recorder = TraceRecorder(scales=[5], layers=[3, 4])
    assert torch.equal(latents(None), latents(recorder))
    assert recorder.maps.keys() == {(5, 3), (5, 4)}


def test_analysis(pipeline: InfinityPipeline, tmp_path: Path) -> None:
    done: list[int] = []
    found = analyze(pipeline, PROMPTS, seeds=[3, 4], schedule=SMALL, batch=3,
                    on_images=done.append)
    assert done == [3, 1] and len(found.images) == 4 and not found.calibrated
    about = found.trace.about
    assert about.prompts == (PROMPTS[0],) * 2 + (PROMPTS[1],) * 2 and about.seeds == (3, 4, 3, 4)
    assert about.model == model_fingerprint(pipeline.transformer)
    assert about.schedule["pn"] == "0.06M" and about.versions["torch"]
    # Batch neighbours do not matter
    alone = analyze(pipeline, PROMPTS[1:], seeds=[4], schedule=SMALL)
    torch.testing.assert_close(alone.trace.map(6, 5)[0], found.trace.map(6, 5)[3], atol=1e-4,
                               rtol=0)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["images"] == 4 and set(told["layers"]) == {str(n) for n in range(10)}
    relative = [told["scales"][str(s)]["relative"]["mean"] for s in range(1, 7)]
    assert all(0.5 < value < 1 for value in relative)
    # A map looks like the one before it: what choosing tokens by the last scale's map rests on
    assert told["scales"]["6"]["follows"]["mean"] > 0.6
    found.trace.save(tmp_path / "t.safetensors")
    assert EntropyTrace.load(tmp_path / "t.safetensors").about == about


def test_only_what_is_asked_for(pipeline: InfinityPipeline) -> None:
    found = analyze(pipeline, PROMPTS[:1], schedule=SMALL, scales=[4, 6], layers=[0, 9], heads=True)
    assert set(found.trace.maps) == {(4, 0), (4, 9), (6, 0), (6, 9)}
    assert found.trace.maps[4, 0].shape == (1, 5, 8, 8) and found.summary.layers == (0, 9)
    for how, message in (({"scales": [7]}, "no scale 7: this run has 7"),
                         ({"layers": [-1]}, "no layer -1: this run has 10"),
                         ({"batch": 0}, "batch must be"), ({"seeds": []}, "at least one")):
        with pytest.raises(ValueError, match=message):
            analyze(pipeline, PROMPTS[:1], schedule=SMALL, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result(pipeline: InfinityPipeline) -> Result:
    return calibrate(pipeline, PROMPTS, schedules=[SMALL], name="test", shortcut_pictures=16,
                     target_ssim=0.8,
                     provenance={"command": "a test"})


@pytest.fixture(scope="module")
def calibration(result: Result) -> Calibration:
    assert result.calibration is not None
    return result.calibration


def test_shortcuts_of_the_embedded_model(result: Result, calibration: Calibration) -> None:
    """They predict most of what the layers change on pictures that they were not fitted to, and
    calibration has tried them."""
    fitted, used = result.all_shortcuts, result.shortcuts
    assert fitted is not None and used is not None
    told = fitted.about["explained"]
    assert fitted.lengths == (5, 6, 7, 8) and told["5-6-5"] > told["5-6-8"] > 0.4
    assert set(used.maps) < set(fitted.maps) and result.findings.shortcuts == fitted.identity
    assert calibration.dropped == "exit" and calibration.shortcuts == used.identity
    assert find_shortcuts(used.identity) is used
    known = {(t.guided, t.skipped, t.shortcuts): t
             for t in result.findings.schedules["0.06M"].tried}
    last, none = known[7, (), ((6, 5),)], known[7, (6,), ()]
    assert last.likeness[0] > none.likeness[0] + 0.05  # half the last scale's work is worth a lot
    assert 0 <= calibration.main.mixing_gain <= 0.5


def test_choices_are_of_all_pictures(result: Result, calibration: Calibration) -> None:
    tried = result.findings.schedules["0.06M"].tried
    assert any(len(t.likeness) < 2 for t in tried) or len(tried) < len(calibration.main.choices) * 2
    choices = calibration.main.choices
    assert choices[0].likeness == 1.0 and all(c.pictures == 2 for c in choices[1:])
    assert all(c.half_width is not None and c.time is not None and 0 < c.time < 1.5
               for c in choices[1:])
    assert result.work.alone > result.work.run > 0


def test_what_entropy_is_worth_is_measured(calibration: Calibration) -> None:
    worth = calibration.main.selection
    assert worth is not None and worth.pictures == 2 and worth.share == 0.5
    assert worth.half_width is not None and abs(worth.gain) < 0.5


def test_calibration(pipeline: InfinityPipeline, calibration: Calibration) -> None:
    assert calibration.model == model_fingerprint(pipeline.transformer)
    assert calibration.depth == 10 and calibration.prompts == 2
    assert calibration.provenance["command"] == "a test" and calibration.provenance["versions"]
    entry = calibration.main
    assert entry.grids == SMALL.grids and len(entry.layer_classes) == 10
    # Where to prune follows from the recorded similarities
    measured = {s: row.pruned_ssim.mean for s, row in enumerate(entry.scales) if row.pruned_ssim}
    assert set(measured) == {4, 5, 6}
    fine = [s for s in measured if all(measured[t] >= 0.8 for t in measured if t >= s)]
    assert entry.start_scale == min(fine, default=None)
    assert 2 <= entry.representative_scale < 6  # before the last, so that a run can plan after it
    # The best likeness, or exit where that is ahead by chance only, and guidance given up while
    # half of the tolerance is left
    probe = calibration.provenance["probe"]
    ways, unguided = probe["ssim"]["0.06M"], probe["unguided_ssim"]["0.06M"]
    assert calibration.dropped in ("exit", max(ways, key=ways.get)) and len(unguided) == 3
    assert entry.unconditional_off == next((k for k, x in enumerate(unguided) if x < 0.9), 3)
    # Pruning half of the last scale does less harm than pruning half of the last three
    assert measured[6] > measured[4]
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_exit_similarity_is_that_of_the_unfinished_picture(
    pipeline: InfinityPipeline, calibration: Calibration
) -> None:
    values = []
    for prompt in PROMPTS:
        sums: list[Tensor] = []
        full = pipeline(prompt, seed=0, schedule=SMALL, output_type="pt",
                        on_scale=lambda s, sums=sums: sums.append(s.summed_codes.clone())).images
        with torch.inference_mode():
            early = (pipeline.vae.decode(sums[4]) + 1) / 2
        values.append(float(ssim(early.clamp(0, 1), full.clamp(0, 1))))
    stored = calibration.main.scales[5].exit_ssim
    assert stored is not None and stored.mean == pytest.approx(sum(values) / 2, abs=1e-4)


def test_a_calibration_scores_an_analysis(
    pipeline: InfinityPipeline, calibration: Calibration
) -> None:
    found = analyze(pipeline, PROMPTS[:1], schedule=SMALL, calibration=calibration)
    assert found.calibrated
    assert found.summary.representative == calibration.main.representative_scale
    assert found.summary.fit.beta == calibration.beta


def test_the_box_holds_a_calibration_of_the_embedded_model(pipeline: InfinityPipeline) -> None:
    found = find_calibration(model_fingerprint(pipeline.transformer))
    assert found is not None, "the model has changed: calibrate it again, docs/guide/calibrating.md"
    assert {"0.06M", "0.25M"} <= set(found.entries) and found.prompts >= 20
    assert found.depth == pipeline.transformer.shape.depth


def test_a_target_that_nothing_reaches(pipeline: InfinityPipeline) -> None:
    """Prune nothing; and there is nothing to fit."""
    found = calibrate(pipeline, PROMPTS[:1], seeds=[1, 2], schedules=[SMALL],
                      target_ssim=1.0).calibration
    assert found is not None and (found.prompts, found.seeds) == (1, 2)
    assert found.start_scale == {"0.06M": None} and "no scale" in found.main.start_reason
    assert found.rho_accuracy is None and not found.rho_informative
    assert found.tau == PUBLISHED_TAU
    assert found.shortcuts is None and not any(c.shortcuts for c in found.main.choices)


def test_what_cannot_be_calibrated_is_refused(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match="probe_keep"):
        calibrate(pipeline, PROMPTS, schedules=[SMALL], probe_keep=1.0)
    with pytest.raises(ValueError, match="at least one prompt"):
        calibrate(pipeline, [])
    with pytest.raises(ValueError, match="minutes"):
        calibrate(pipeline, PROMPTS, minutes=0)


def test_crossing_finds_the_rule_that_made_the_labels() -> None:
    """Each image has its own start; rho falls through 0.3 just there."""
    starts = [2, 3, 4, 5, 3, 2, 6]
    rho = torch.tensor([[math.nan] + [0.4 - 0.02 * s if s < d else 0.2 - 0.01 * s
                                      for s in range(1, 8)] for d in starts])
    fine = torch.tensor([[s >= d for s in range(8)] for d in starts])
    fit = fit_threshold([rho], [fine], [range(1, 8)])
    assert fit.direction == "falling" and 0.18 < fit.tau < 0.3 and fit.accuracy == 1
    assert fit.by_scale is not None and fit.by_scale < 0.9
    # One start for all: the best is found for each schedule by itself
    both = fit_threshold([rho, rho[:, :6]], [fine, fine[:, :6]], [range(1, 8), range(1, 6)])
    truth = torch.cat([fine[:, 1:].flatten(), fine[:, 1:6].flatten()])
    best = max(
        balanced_accuracy(torch.tensor([s >= a for _ in starts for s in range(1, 8)]
                                       + [s >= b for _ in starts for s in range(1, 6)]), truth)
        for a in range(1, 9) for b in range(1, 7)
    )
    assert both.by_scale == pytest.approx(best)
    mirrored = fit_threshold([1 - rho], [fine], [range(1, 8)])
    assert mirrored.direction == "rising" and mirrored.accuracy == 1


def test_crossing_without_anything_to_tell_apart() -> None:
    rho = torch.linspace(0.5, 0.3, 6).expand(3, 6)
    for fine in (torch.ones(3, 6, dtype=torch.bool), torch.zeros(3, 6, dtype=torch.bool)):
        fit = fit_threshold([rho], [fine], [range(2, 6)])
        assert fit.accuracy is None and fit.tau == PUBLISHED_TAU and fit.direction == "falling"
    few = torch.ones(3, 6, dtype=torch.bool)
    few[0, 2:4] = False  # two cases are no evidence
    assert fit_threshold([rho], [few], [range(2, 6)]).accuracy is None
    nothing = fit_threshold([1 - rho], [torch.ones(3, 6, dtype=torch.bool)], [[]])
    assert nothing.direction == "rising"


def test_balanced_accuracy() -> None:
    truth = torch.tensor([True, True, True, False])
    assert balanced_accuracy(truth, truth) == 1
    assert balanced_accuracy(torch.ones(4, dtype=torch.bool), truth) == 0.5
    assert balanced_accuracy(torch.tensor([True, False, False, False]), truth) == pytest.approx(2/3)
