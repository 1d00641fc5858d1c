"""Fitting decision models, from pictures to file."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.analysis.fits.skipvar import fit
from toprovar.analysis.fits.skipvar.decisions import fit_decision, fit_regression, label
from toprovar.analysis.fits.skipvar.measure import PolicySamples, measure_policies
from toprovar.cli import main
from toprovar.evaluation.metrics import ssim
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.strategies.skipvar.decision import (
    FEATURES,
    DecisionModel,
    DecisionModels,
)
from toprovar.sparsity.strategies.skipvar.features import vae_decoder
from toprovar.sparsity.strategies.skipvar.policies import SkipVar, skipvar_plan

SCHEDULE = get_schedule("1.0", "0.06M")
LEVELS = ([1, 0.5, 0.4, 0.3], [1, 0.9, 0.5, 0.4], [1, 0.95, 0.9, 0.5], [1, 0.97, 0.95, 0.9])
"""SSIM of a picture by class, such that the class is 0, 1, 2, 3 at a target of 0.85."""


def made_up(count: int, branch: bool = True) -> PolicySamples:
    """Pictures whose class falls from 3 to 0 with diff_hf, and whose branch class rises with
    hf_ratio."""
    draw = random.Random(1)
    rows, skips, unconds = [], [], []
    for _ in range(count):
        diff, ratio = draw.uniform(0, 0.4), draw.uniform(0.4, 0.8)
        rows.append((diff, ratio))
        skips.append(LEVELS[3 - int(diff * 10)])
        unconds.append(LEVELS[int((ratio - 0.4) * 10)] if branch else LEVELS[3])
    return PolicySamples(
        SCHEDULE, tuple(f"prompt {i // 2}" for i in range(count)), (0, 1) * (count // 2),
        torch.tensor(rows, dtype=torch.float64), torch.tensor(skips, dtype=torch.float64),
        torch.tensor(unconds, dtype=torch.float64), {"tau": 0.5},
    )


def test_labels_are_the_largest_class_that_keeps_the_target() -> None:
    table = torch.tensor([*LEVELS, [1, 0.5, 0.9, 0.2]])
    assert label(table, 0.85) == [0, 1, 2, 3, 2]
    assert label(table, 1.0) == [0] * 5


def test_a_fit_learns_what_separates() -> None:
    samples = made_up(600)
    model = fit_decision(samples, 0.85, "weights", {"command": "by hand"})
    assert model.skip.classes == (0, 1, 2, 3) and model.pn == "0.06M"
    assert model.decide((0.02, 0.5)) == (3, 0) and model.decide((0.25, 0.5)) == (1, 0)
    assert model.decide((0.39, 0.41)) == (0, 0) and model.decide((0.39, 0.79)) == (0, 3)
    told = model.provenance
    assert told["command"] == "by hand" and told["prompts"] == 300 and told["pictures"] == 600
    held = told["held_out"]
    assert held["skip_accuracy"] > 0.85 > 0.4 > held["skip_commonest"]
    assert held["uncond_accuracy"] > 0.75 > held["uncond_commonest"]
    assert sum(told["skip_labels"].values()) == 600
    assert sum(told["uncond_labels"].values()) == told["skip_labels"]["0"]
    assert "no scale may be left out" in told["uncond_fitted_to"]


def test_a_regression_is_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    for classes in (4, 2):
        y = ((x[:, 0] + 0.5 * torch.randn(200, generator=generator)) * 2).round().long()
        y = y.clamp(0, classes - 1).tolist()
        found = fit_regression(x, y)
        z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
        theirs = linear_model.LogisticRegression(max_iter=1000).fit(z, y).predict(z)
        assert [found.decide(row) for row in x.tolist()] == theirs.tolist()


def test_one_label_becomes_a_constant() -> None:
    samples = made_up(40, branch=False)
    model = fit_decision(samples, 0.85)
    assert model.uncond is not None and model.uncond.classes == (3,)
    nothing = fit_decision(samples, 0.05)
    assert nothing.skip.classes == (3,) and nothing.provenance["held_out"]["at_target"] == 1
    assert nothing.provenance["held_out"]["uncond_accuracy"] is None


def test_few_pictures_for_the_branch_are_replaced_by_all() -> None:
    few = fit_decision(made_up(30), 0.85)
    assert few.uncond is not None and "all pictures" in few.provenance["uncond_fitted_to"]
    assert len(few.uncond.classes) == 4


def test_a_single_prompt_cannot_be_held_out() -> None:
    samples = made_up(2)
    assert fit_decision(samples, 0.85).provenance["held_out"] is None


def test_measured_likeness_is_that_of_the_policies() -> None:
    pipeline = tiny_pipeline()
    found = measure_policies(pipeline, ["a red apple", "a blue cat"], [4, 5], SCHEDULE)
    assert found.prompts == ("a red apple",) * 2 + ("a blue cat",) * 2
    assert found.seeds == (4, 5, 4, 5)
    shape = pipeline.transformer.shape
    for i in (0, 3):
        def draw(i: int = i, **policy: int) -> torch.Tensor:
            return pipeline(found.prompts[i], seed=found.seeds[i], schedule=SCHEDULE,
                            plan=skipvar_plan(shape, SCHEDULE, **policy), output_type="pt").images
        dense = draw()
        for n in (1, 2, 3):
            assert torch.equal(ssim(draw(skip=n), dense), found.skip_ssim[i : i + 1, n])
            assert torch.equal(ssim(draw(uncond=n), dense), found.uncond_ssim[i : i + 1, n])
        decide = SkipVar(DecisionModel.always(), vae_decoder(pipeline.vae))
        told = pipeline(found.prompts[i], seed=found.seeds[i], plan=decide).report.used_plan
        assert [told.parameters[name] for name in FEATURES] == found.features[i].tolist()


def test_pictures_may_be_measured_together() -> None:
    pipeline, prompts = tiny_pipeline(), ["a red apple", "a blue cat", "two dog"]
    one, three = (measure_policies(pipeline, prompts, [4], SCHEDULE, batch=n) for n in (1, 3))
    assert one.prompts == three.prompts
    # A near-tie may fall the other way in another batch.
    torch.testing.assert_close(one.features, three.features, atol=0.01, rtol=0)
    torch.testing.assert_close(one.skip_ssim, three.skip_ssim, atol=0.02, rtol=0)
    torch.testing.assert_close(one.uncond_ssim, three.uncond_ssim, atol=0.02, rtol=0)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    short = ScaleSchedule("1.0", "0.06M", SCHEDULE.grids[:5], (64, 64))
    with pytest.raises(ValueError, match="decides nothing on 5 scales"):
        measure_policies(pipeline, ["a"], [0], short)
    with pytest.raises(ValueError, match="at least one prompt"):
        measure_policies(pipeline, [], [0], SCHEDULE)
    with pytest.raises(ValueError, match="budgets must differ"):
        fit(pipeline, ["a"], schedules=[SCHEDULE, get_schedule("1.5", "0.06M")])
    with pytest.raises(ValueError, match="target must be above 0"):
        fit_decision(made_up(4), 0)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ValueError, match="needs scikit-learn: pip install 'toprovar"):
        fit(pipeline, ["a"], schedules=[SCHEDULE])


def test_the_command_writes_a_file_that_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline, folder, out = tiny_pipeline(), tmp_path / "model", tmp_path / "own.json"
    pipeline.save_pretrained(folder)
    (tmp_path / "prompts.txt").write_text("a red apple\n\na blue cat\n")
    command = ["fit-skipvar", "--prompts", str(tmp_path / "prompts.txt"), "--model", str(folder),
               "--num-seeds", "2", "--target", "0.6", "--out"]
    assert main([*command, str(out)]) == 0
    told = capsys.readouterr().out
    assert "0.06M: 4 pictures of 2 prompts" in told and "held-out prompts" in told
    models = DecisionModels.load(out)
    assert models.root["0.06M"].provenance["seeds"] == [0, 1]
    assert str(tmp_path) not in out.read_text()
    plan = SkipVar(models, vae_decoder(pipeline.vae))
    assert not any("other weights" in n for n in pipeline("a dog", seed=1, plan=plan).report.notes)
    assert main([*command, str(tmp_path / "absent" / "x.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main([*command, str(out), "--target", "2"]) == 2
    assert "--target must be" in capsys.readouterr().err
