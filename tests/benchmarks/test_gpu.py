"""The GPU benchmark on the CPU: the same code, with a tiny model and the wall clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import first, models, roofline, strategies, trace, user
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.engine import Loop, engines
from benchmarks.gpu.models import Subject
from benchmarks.gpu.official import Official, decode
from benchmarks.gpu.overhead import GivenTokens, unmeasured
from benchmarks.gpu.results import Results
from benchmarks.gpu.trace import Interval
from benchmarks.reference_loop import reference_run
from toprovar.models.autoencoder import to_uint8
from toprovar.sampling.run import SamplingRun
from toprovar.sparsity.cost import count

CPU = torch.device("cpu")
QUICK = ["--model", "tiny", "--large", "tiny", "--device", "cpu", "--rounds", "1", "--batches", "2",
         "--user-models", "tiny"]


@pytest.fixture(scope="module")
def tiny() -> Subject:
    return models.build("tiny", CPU, torch.float32)


def test_every_section_and_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "CASES", {"filled": (False, True)})  # a process of its own each
    assert main([*QUICK, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["left_out"] == {}
    assert set(found["sections"]) == {
        "dense", "strategies", "batches", "overhead", "correctness", "memory", "8b",
        "8b-memory", "user tiny", "first"}
    names = [row["name"] for row in found["sections"]["strategies"]["rows"]]
    assert names == ["dense", *strategies.plans(models.build("tiny", CPU, torch.float32))]
    for row in found["sections"]["strategies"]["rows"]:
        assert row["seconds"] > 0 and row["first_seconds"] > 0
        assert row["roofline"]["scales"]["share"] > 0
        assert sum(row["trace"]["groups"].values()) == pytest.approx(
            row["trace"]["kernel_seconds"], rel=1e-3)
        assert sum(row["stages"].values()) <= 2 * row["seconds"]
    person = found["sections"]["user tiny"]["rows"]
    assert {row["name"] for row in person} == {"dense", *user.ways(models.build(
        "tiny", CPU, torch.float32))}
    for row in person:
        assert len(row["pictures"]) == user.PICTURES and row["dense_seconds"] > 0
        assert row["of_dense"] == pytest.approx(row["seconds"] / row["dense_seconds"], rel=1e-3)
    for row in found["sections"]["first"]["rows"]:
        assert row["first_over_eager"] == pytest.approx(
            row["first_seconds"] - row["eager_dense_seconds"], abs=1e-3)
    kept = found["sections"]["correctness"]
    assert kept["float32"]["tiny"]["device_differs_from_host"] == 0
    assert 0.9 < kept["narrow"]["float32 residual"]["equal_bits"] < 1
    assert "--fixtures" in kept["conformance"]["left_out"]
    pytest.importorskip("matplotlib")
    assert main(["report", str(tmp_path / "gpu.json"), "--docs", str(tmp_path / "docs")]) == 0
    page = (tmp_path / "docs" / "gpu.md").read_text()
    assert all(f"| {name} | " in page for name in names)
    assert "### tiny, 0.06M" in page and "slowest default" in page
    assert {p.name for p in (tmp_path / "docs").iterdir()} == {"gpu.md", "gpu.json", "gpu.png"}


def test_a_spent_budget_leaves_out_the_rest(tmp_path: Path) -> None:
    assert main([*QUICK, "--sections", "dense,8b", "--budget-seconds", "0",
                 "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["sections"] == {} and set(found["left_out"]) == {"dense", "8b"}


def test_an_error_leaves_what_was_found(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", {})
    with results.section("one") as found:
        found["rows"] = [1.23456789]
        raise ValueError("no such kernel")
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["sections"]["one"]["rows"] == [1.2346]
    assert "no such kernel" in saved["left_out"]["one"]


def test_an_unknown_section_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--sections", "dense,eightb"])
    assert "eightb" in capsys.readouterr().err


@pytest.mark.parametrize("patch", [False, True])
def test_the_official_program_makes_our_picture(patch: bool) -> None:
    """In float32, apart from its decoder's autocast; with and without patches of latent pixels."""
    own = models.build("tiny", CPU, torch.float32)
    if patch:
        changed = models.TransformerConfig(**(models.TINY.to_dict() | {
            "spatial_patchify": True, "bits_per_token": 32}))
        own.pipeline.register_modules(
            transformer=models.random_transformer(changed, CPU, torch.float32))
    official = Official(own)
    text = official.encode(own.prompts())
    ours = own.pipeline.encode_prompt(own.prompts())
    torch.testing.assert_close(text.features, ours.features, atol=1e-4, rtol=1e-4)
    model = own.pipeline.transformer
    run = SamplingRun(model, ours, own.params, generators=torch.Generator().manual_seed(2))
    states = list(run)
    codes, logits = reference_run(model, ours, own.params, torch.Generator().manual_seed(2))
    torch.testing.assert_close(run.summed_codes, codes)
    torch.testing.assert_close(states[-1].logits, logits, atol=1e-4, rtol=1e-4)
    if not patch:
        with torch.inference_mode():
            exact = own.pipeline.vae.decode(codes)
        assert (decode(official.vae, codes).float() - exact).abs().mean() < 0.02
        assert to_uint8(exact).shape == (1, 256, 256, 3)


def test_activations_stay_in_range(tiny: Subject) -> None:
    states = list(SamplingRun(tiny.pipeline.transformer, tiny.pipeline.encode_prompt(
        tiny.prompts()), tiny.params))
    spread = states[-1].logits.std().item()
    assert 1 < spread < 100
    share = torch.cat([s.bits.flatten() for s in states]).float().mean().item()
    assert 0.2 < share < 0.8


def test_plans_keep_what_their_names_say(tiny: Subject) -> None:
    plans = strategies.plans(tiny)
    shape, last = tiny.shape, plans["preset 20 %, cached"].scales[-1]
    assert sum(n < last.tokens for n in last.keep) == 3 * shape.depth // 4
    assert min(last.keep) / last.tokens == pytest.approx(0.2, abs=16 / last.tokens)
    assert min(plans["layer alone: 3 of 4 not run"].scales[-1].keep) == 0
    assert not plans["scale alone: last 2 not run"].scales[-2].run
    late = plans["guidance alone: last 2 without"]
    assert [s.unconditional for s in late.scales[-3:]] == [True, False, False]
    assert not any(s.sparse for s in late.scales)
    assert max(plans["token alone: 20 % in all layers"].scales[-1].keep) < last.tokens
    assert plans["exit: 20 % stay, one scale early"].scales[-2].dropped == "exit"


def test_given_tokens_are_the_plans_own(tiny: Subject) -> None:
    """The overhead section's comparison does the same work on the same tokens."""
    plan = strategies.plans(tiny)[strategies.PRESET]
    options = engines(CPU)["eager"]
    states = list(Loop("", tiny, plan, options).run())
    given = GivenTokens({(s.index, layer): i for s in states for layer, i in s.kept.items()})
    loop = Loop("", tiny, unmeasured(plan), options, given)
    assert not unmeasured(plan).compiled.where("measured") and plan.compiled.where("measured")
    for a, b in zip(states, loop.run(), strict=True):
        assert torch.equal(a.bits, b.bits)


def test_counted_work(tiny: Subject) -> None:
    plan = strategies.dense(tiny)
    one, two = (roofline.stage_work(tiny, plan, images) for images in (1, 2))
    scales = [work for stage, work in one.items() if stage.startswith("scale")]
    assert sum(work.flops for work in scales) == pytest.approx(count(plan, tiny.shape).flops)
    assert two["decode"].flops == 2 * one["decode"].flops
    assert one["decode"].bytes < two["decode"].bytes
    # One product by hand: the last convolution, 3 x 3 from 32 to 48 channels at 64 x 64.
    vae = tiny.pipeline.vae.shape
    last = 2 * 9 * vae.base_channels * vae.image_channels * 64 * 64
    assert one["decode"].flops > last
    seconds = dict.fromkeys(one, 1.0)
    shares = roofline.shares(one, seconds, roofline.Ceilings(1e12, 1e12))
    assert shares["scales"]["seconds"] == len(scales)
    assert shares["all"]["flops"] == sum(work.flops for work in one.values())


def test_busy_time_is_a_union() -> None:
    rows = [Interval("a", 0, 2), Interval("b", 1, 2), Interval("c", 5, 1), Interval("d", 5, 0.5)]
    assert trace.union(rows) == 4
    assert trace.summary(rows)["kernel_seconds"] == 5.5


def test_operators_do_not_count_what_they_call() -> None:
    rows = [Interval("outer", 0, 10), Interval("inner", 1, 4), Interval("leaf", 2, 1),
            Interval("next", 6, 2), Interval("after", 10, 1)]
    assert [row.seconds for row in trace.alone(rows)] == [4, 3, 1, 2, 1]


@pytest.mark.parametrize(("kernel", "group"), [
    ("nvjet_tst_256x128_64x4_1x2_h_bz_coopA_NTT", "gemm"),
    ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution"),
    ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
    ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float>", "norm"),
    ("residual_rows", "norm"), ("qkv_rows", "rotate"), ("select_mask", "select"),
    ("Memcpy HtoD (Pageable -> Device)", "copy"),
    ("void at::native::vectorized_elementwise_kernel<4, MulFunctor>", "other"),
])
def test_kinds_of_kernels(kernel: str, group: str) -> None:
    assert trace.group_of(kernel) == group
