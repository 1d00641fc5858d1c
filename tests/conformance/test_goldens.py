"""The engine against what the official code computed, and the checker against wrong engines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conformance.make_family import Odd, make_family
from toprovar.cli import main
from toprovar.conformance import check_folder, methods
from toprovar.conformance.extras import check_rope_grid, check_schedules
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.strategies.base import Recordings
from toprovar.sparsity.strategies.dense import Dense


def test_the_2b_like_family(fixtures: Path) -> None:
    """Logits, bits, codes, picture, attention, residual stream, text and VAE of nine runs."""
    report = check_folder(fixtures / "infinity_2b_like")
    assert report.passed, list(report.misses)
    names = {c.name for c in report.checks}
    for expected in ("runs/sq_cfg4_logits image_uint8_bgr", "debug cond_gss", "attention q",
                     "attention entropy.layer3.scale6", "vae_roundtrip bits.6",
                     "runs/sq_sampled_seed42 exp_noise.6", "runs/hw1.5_0.25M_cfg3 logits.9"):
        assert expected in names
    bits = [c for c in report.checks if " bits." in c.name]
    assert len(bits) > 60 and all(c.difference == 0 and not c.note for c in bits)


def test_the_varedit_family(fixtures: Path) -> None:
    """Seven edits: pictures as prepared and encoded, the source's keys, values and residual, its
    averages in the first block, logits, bits, codes and the picture at its own size."""
    report = check_folder(fixtures / "varedit_8b_like")
    assert report.passed and not report.unsupported, list(report.misses)
    checks = {c.name: c for c in report.checks}
    for needed in ("runs/sq_cfg3_tau0.1 source_square", "runs/sq_cfg3_tau0.1 src_features",
                   "runs/sq_forced_random_bits src_k_rows.layer2",
                   "runs/sq_forced_random_bits ref_v_rows.scale3",
                   "runs/sq_1M_forced src_block_out_rows.layer3",
                   "runs/wide_0.25M_cfg3 final_uint8_rgb", "runs/sq_cfg1 logits_rows.6",
                   "runs/tall_sampled_seed42 exp_noise.6", "runs/run_2b_like ref_k_rows.scale3",
                   "runs/sq_1M_forced keys_seen_by_attention block_0"):
        assert checks[needed].passed
    bits = [c for c in report.checks if " bits." in c.name]
    assert len(bits) == 3 * 7 + 10 and all(c.difference == 0 and not c.note for c in bits)


@pytest.fixture
def edit(fixtures: Path, tmp_path: Path) -> Path:
    """A family of one edit, to be spoilt."""
    family = tmp_path / "varedit_8b_like"
    shutil.copytree(fixtures / "varedit_8b_like", family, ignore=lambda folder, names: [
        n for n in names if Path(folder).name == "runs" and n != "sq_forced_random_bits"])
    return family


def test_runs_whose_weights_are_not_here_are_named(edit: Path) -> None:
    report = check_folder(edit)
    assert report.passed
    assert report.unsupported == ("run_2b_like: its weights, infinity_2b_like, are not beside "
                                  "varedit_8b_like",)


@pytest.mark.parametrize(("file", "key", "by"), [
    ("weights.safetensors", "word_embed.bias", 0.02),
    ("weights.safetensors", "lvl_embed.weight", 0.05),
    ("vae.safetensors", "encoder.conv_out.conv.bias", 0.01),
    *(("expected", key, 1e-3) for key in (
        "src_features_area16", "src_prefix_rows", "src_embed_rows", "src_block_in_rows",
        "src_q_rows.layer0", "src_v_rows.layer2", "src_block_out_rows.layer1",
        "ref_k_rows.scale4", "logits_rows.0")),
    ("expected", "src_square_uint8_every", 1),
])
def test_any_wrong_tensor_of_an_edit_is_a_miss(edit: Path, file: str, key: str, by: float) -> None:
    shutil.rmtree(edit / "run_2b_like")
    path = edit / "runs" / "sq_forced_random_bits" / "expected.safetensors" \
        if file == "expected" else edit / file
    change(path, key, by)
    missed = [c.name for c in check_folder(edit).misses]
    assert missed and (file != "expected" or missed == [f"runs/sq_forced_random_bits {key}"])


def test_the_tables(fixtures: Path) -> None:
    for checks in (check_rope_grid(fixtures / "rope_grid.safetensors"),
                   check_schedules(fixtures / "schedules.json")):
        assert len(checks) >= 60 and all(c.passed for c in checks)


@pytest.mark.timeout(600)
def test_the_1m_family(fixtures: Path, tmp_path: Path) -> None:
    """All 13 scales; the runs of other methods are named as not supported."""
    family = copy_family(fixtures, tmp_path, "infinity_1m")
    # The entropy of 10,521 keys in float64 takes a minute and more: keep its first ten scales.
    attention = load_file(family / "attention.safetensors")
    save_file({k: v for k, v in attention.items() if not k.endswith((".scale12", ".scale11",
                                                                     ".scale10"))},
              family / "attention.safetensors")
    report = check_folder(family)
    assert report.passed, report.misses
    assert not report.unsupported
    kept = [c for c in report.checks if " kept." in c.name]
    assert len(kept) == 24 and all(c.difference == 0 and not c.note for c in kept)


def copy_family(fixtures: Path, target: Path, name: str) -> Path:
    shutil.copytree(fixtures / name, target / name)
    if not (target / name / "vae.safetensors").exists():
        (target / "infinity_2b_like").mkdir()
        shutil.copy(fixtures / "infinity_2b_like" / "vae.safetensors", target / "infinity_2b_like")
    return target / name


@pytest.fixture
def small(fixtures: Path, tmp_path: Path) -> Path:
    """A family of one run, to be spoilt."""
    family = copy_family(fixtures, tmp_path, "infinity_2b_like")
    for run in (family / "runs").iterdir():
        if run.name != "sq_cfg4_logits":
            shutil.rmtree(run)
    config = json.loads((family / "config.json").read_text())
    del config["attention"], config["debug"]
    (family / "config.json").write_text(json.dumps(config))
    (family / "vae_roundtrip.safetensors").unlink()
    return family


def change(path: Path, key: str, by: float) -> None:
    tensors = load_file(path)
    tensors[key] = (tensors[key].double() + by).to(tensors[key].dtype)
    save_file(tensors, path)


def test_a_good_family_passes_on_the_command_line(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", str(small)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("PASS: ")
    assert any("limit 0.0002" in line and "logits.6" in line for line in lines)
    assert main(["conformance", str(small), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] and len(report["checks"]) == len(lines) - 1


@pytest.mark.parametrize(("file", "key", "by"), [
    ("weights.safetensors", "block_chunks.1.module.1.ffn.fc2.bias", 0.05),
    ("runs/sq_cfg4_logits/expected.safetensors", "logits.3", 1e-3),
    ("runs/sq_cfg4_logits/expected.safetensors", "image_float", 3e-3),
    ("runs/sq_cfg4_logits/expected.safetensors", "summed_codes", 1e-4),
    ("vae.safetensors", "decoder.conv_out.conv.bias", 0.05),
])
def test_any_wrong_tensor_is_a_miss(
    small: Path, file: str, key: str, by: float, capsys: pytest.CaptureFixture[str]
) -> None:
    change(small / file, key, by)
    assert main(["conformance", str(small)]) == 1
    out = capsys.readouterr().out
    assert "MISS" in out and out.strip().splitlines()[-1].startswith("FAIL")


def test_wrong_bits_and_unknown_goldens_are_misses(small: Path) -> None:
    path = small / "runs" / "sq_cfg4_logits" / "expected.safetensors"
    tensors = load_file(path)
    tensors["bits.4"] = 1 - tensors["bits.4"]
    tensors["something_new"] = torch.zeros(3)
    save_file(tensors, path)
    missed = {c.name.split()[-1]: c.difference for c in check_folder(small).misses}
    assert missed["bits.4"] > 1000
    assert "something_new" in missed


@pytest.mark.parametrize("odd", [
    Odd(),
    Odd(width=64, heads=1, depth=2, chunks=1, patchify=False, template="3.0"),
    Odd(width=96, heads=2, depth=3, chunks=3, text=256, patchify=False, every_chunk=True),
    Odd(width=40, heads=5, depth=1, chunks=1, text=256, template="0.571"),
])
def test_other_shapes(tmp_path: Path, odd: Odd) -> None:
    """Families made here, with shapes of their own, recorded from the plain test loop."""
    report = check_folder(make_family(tmp_path / "odd", odd))
    assert report.passed, report.misses
    assert len(report.checks) == 9  # seven scales of logits, codes, picture


@pytest.mark.parametrize(("content", "message"), [
    (None, "holds no fixtures"), ("{", "not valid JSON"),
])
def test_folders_that_are_no_family(
    tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert main(["conformance", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert main(["conformance", str(tmp_path / "absent")]) == 2


def test_settings_that_contradict_the_weights(small: Path) -> None:
    config = json.loads((small / "config.json").read_text())
    config["transformer"]["num_heads"] = 4
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="num_heads is 4, but the weights have 2"):
        check_folder(small)


@pytest.mark.timeout(600)
def test_runs_on_anothers_weights(fixtures: Path) -> None:
    """FasterVAR under the recorded draws: logits, places, mixtures, codes, picture and bits."""
    report = check_folder(fixtures / "fastervar")
    assert report.passed, report.misses
    assert not report.unsupported
    exact = [c for c in report.checks if any(part in c.name for part in (
        " bits.", " rep_index.", " ranks", " cache_len_after_width40", " executed_scales"))]
    assert len(exact) == 11 + 9 + 3 + 3 + 3
    assert all(c.difference == 0 and not c.note for c in exact)
    for needed in ("fastervar_greedy bits.10", "fastervar_forced restored_rows.width40.last_chunk",
                   "fastervar_guided_forced fresh_rows.10"):
        assert any(c.name == f"runs/{needed}" for c in report.checks)


def test_a_methods_runs_are_compared_where_its_strategy_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = make_family(tmp_path / "odd", Odd())
    folder = family / "runs" / "forced"
    settings = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**settings, "halved": 2}))
    golden = load_file(folder / "expected.safetensors")
    save_file({**golden, "halves": torch.tensor([2.5])}, folder / "expected.safetensors")

    class Toy(Dense):
        recordings = Recordings(
            lambda run, shape, schedule, vae: dense_plan(shape, schedule).model_copy(
                update={"parameters": {"halved": run["halved"]}}),
            lambda run, goldens: "halved" in run and "halves" in goldens,
            lambda plan: {"halves": [plan.parameters["halved"] + 0.5]})

    known = {"toy": Toy()}
    monkeypatch.setattr(methods, "all_strategies", lambda: known)
    report = check_folder(family)
    assert report.passed and "runs/forced halves" in {c.name for c in report.checks}
    del known["toy"]  # a dense run, whose golden nobody knows
    assert [c.name for c in check_folder(family).misses] == ["runs/forced halves"]
    (folder / "run.json").write_text(json.dumps({**settings, "method": "toy"}))
    assert check_folder(family).unsupported == ("runs/forced: toy is not supported yet",)
