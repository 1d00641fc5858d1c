"""Decision models: the published ones, files, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from toprovar import InfinityPipeline, bundled_model
from toprovar.models.fingerprint import model_fingerprint
from toprovar.schedules import get_schedule
from toprovar.sparsity.strategies.skipvar.decision import (
    DecisionModel,
    DecisionModels,
    Regression,
    constant,
    find_decisions,
)
from toprovar.sparsity.strategies.skipvar.features import vae_decoder
from toprovar.sparsity.strategies.skipvar.policies import SkipVar

GOLDEN = (0.09665219485759735, 0.5598639845848083)


@pytest.mark.parametrize(("name", "answer", "branch"), [
    ("decision_model_ssim_84", (1, 0), None),
    ("decision_model_ssim_84_diff_only", (2, 0), None),
    ("decision_model_ssim_86", (0, 3), 3),
    ("decision_model_ssim_88", (0, 3), 3),
])
def test_the_published_models(fixtures: Path, name: str, answer: tuple[int, int],
                              branch: int | None) -> None:
    """What they say of the recorded features."""
    models = DecisionModels.load(fixtures / "infinity_1m" / "skipvar_decision_models.json")
    model, notes = models.pick(get_schedule("1.0", "1M"), name)
    assert model.decide(GOLDEN) == answer and not notes
    assert model.uncond is not None
    if branch is None:
        assert model.uncond.classes == (1, 2, 3)
    else:
        assert model.uncond.decide(GOLDEN) == branch
    with pytest.raises(ValueError, match="several decision models fit: name one of decision_model"):
        models.pick(get_schedule("1.0", "1M"))
    with pytest.raises(ValueError, match="no decision model 'x'; expected one of decision_model_s"):
        models.pick(get_schedule("1.0", "1M"), "x")


def regression(**changes: Any) -> dict[str, Any]:
    return {"classes": [0, 2, 3], "coef": [[1, 0], [0, 1], [-1, -1]], "intercept": [0, 0.5, 0],
            "scaler_mean": [0.1, 0.5], "scaler_scale": [0.1, 0.2], **changes}


def test_scores_by_hand() -> None:
    model = Regression.model_validate(regression())
    assert model.scores((0.3, 0.4)) == pytest.approx((2.0, 0.0, -1.5))
    assert model.decide((0.3, 0.4)) == 0 and model.decide((0.1, 0.5)) == 2
    assert model.decide((-0.4, 0.0)) == 3


def test_two_classes_may_share_a_row() -> None:
    model = Regression(classes=(1, 3), coef=((2.0,),), intercept=(-1.0,), scaler_mean=(0.0,),
                       scaler_scale=(1.0,))
    assert [model.decide((x, 0.9)) for x in (0.4, 0.6)] == [1, 3]


def test_guidance_is_asked_about_only_if_no_scale_is_skipped() -> None:
    assert DecisionModel(skip=constant(2), uncond=constant(3)).decide(GOLDEN) == (2, 0)
    assert DecisionModel(skip=constant(0), uncond=constant(3)).decide(GOLDEN) == (0, 3)
    assert DecisionModel(skip=constant(0)).decide(GOLDEN) == (0, 0)


@pytest.mark.parametrize(("change", "message"), [
    ({"classes": [0, 2, 4]}, "classes must be some of"), ({"classes": [0, 2, 2]}, "once each"),
    ({"coef": [[1, 0], [0, 1]]}, "coef has 2 rows for 3 classes"),
    ({"coef": [[1, 0], [0, 1], [1]]}, "must have as many"),
    ({"intercept": [0]}, "intercept has 1 entries"),
    ({"scaler_mean": [0.1] * 3}, "scaler_mean has 3 features"),
    ({"scaler_scale": [0.1, 0]}, "scaler_scale must be above 0"),
    ({"coef": "much"}, r"skip\.coef: Input should be a valid"), ({"extra": 1}, r"skip\.extra"),
    ({"intercept": [0, float("nan"), 0]}, r"skip\.intercept\.1"),
])
def test_bad_files_say_what_is_wrong(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"skip": regression(**change)}))
    with pytest.raises(ValueError, match=message) as error:
        DecisionModels.load(path)
    assert "bad.json" in str(error.value) and "toprovar fit-skipvar" in str(error.value)


@pytest.mark.parametrize(("content", "message"), [
    (b"{", "not JSON"), (b"\xff\xfe\x00", "not UTF-8 text"), (b"{}", "no decision model in it"),
    (b"[1]", "Input should be"), (b'{"a": {"uncond": null}}', "a.skip: Field required"),
])
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        DecisionModels.load(path)


def test_files_of_one_and_of_several(tmp_path: Path) -> None:
    one, many = tmp_path / "mine.json", tmp_path / "many.json"
    one.write_text(json.dumps({"skip": regression()}))
    models = DecisionModels.load(one)
    assert list(models.root) == ["mine"]
    assert models.pick(get_schedule("1.0", "0.25M"))[0].skip.classes == (0, 2, 3)
    several = DecisionModels({pn: DecisionModel.always(i).model_copy(update={"pn": pn})
                              for i, pn in enumerate(("0.06M", "0.25M", "1M"))})
    several.save(many)
    assert DecisionModels.load(many) == several
    for pn, expected, noted in (("0.06M", 0, False), ("0.25M", 1, False), ("0.60M", 2, True)):
        model, notes = several.pick(get_schedule("1.5", pn))
        assert model.decide(GOLDEN)[0] == expected and bool(notes) == noted


def test_models_are_found_by_their_weights(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    DecisionModels({"0.06M": DecisionModel.always(1).model_copy(update={"model": "mine"})}
                   ).save(path)
    found = find_decisions("mine", [path])
    assert found is not None and found.root["0.06M"].decide(GOLDEN) == (1, 0)
    assert find_decisions("other", [path]) is None


def test_the_embedded_model_has_its_own() -> None:
    """Fitted to the weights in the box, at both of its sizes; a run decides by it."""
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    found = find_decisions(model_fingerprint(pipeline.transformer))
    assert found is not None, (
        "no decision models of these weights are in the box: run toprovar fit-skipvar --bundled "
        "--pn 0.06M --pn 0.25M --target 0.9 --out toprovar/data/skipvar/infinity-emoji.json"
    )
    assert set(found.root) == {"0.06M", "0.25M"}
    for pn, model in found.root.items():
        assert model.pn == pn and model.provenance["pictures"] >= 50
        assert "/" not in model.provenance["command"]
    plan = SkipVar(found, vae_decoder(pipeline.vae))
    report = pipeline("a red apple", seed=1, height=256, width=256, plan=plan).report
    assert report.used_plan is not None
    told = report.used_plan.parameters
    features = told["diff_hf"], told["hf_ratio"]
    assert (told["skip"], told["uncond"]) == found.root["0.06M"].decide(features)
    assert not any("other weights" in note or "fitted at" in note for note in report.notes)
