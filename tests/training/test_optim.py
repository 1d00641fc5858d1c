from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

from toprovar.models.autoencoder import InfinityAutoencoder, ResidualBlock
from training.ema import Ema
from training.muon import BatchedMuon, orthogonalise
from training.optim import build_optimizers
from training.pace import Pace, lr_factor
from training.settings import OptimizerSettings, RunSettings, TokenizerSettings, parse


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 8), (2, 8, 24)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5 and values.max() < 1.3


def test_batched_muon_steps_as_torchs_muon():
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(12, 8, generator=generator) for _ in range(2)]
    grads = [[torch.randn(12, 8, generator=generator) for _ in range(2)] for _ in range(3)]
    mine = [nn.Parameter(t.clone()) for t in start]
    theirs = [nn.Parameter(t.clone()) for t in start]
    options: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}
    batched = BatchedMuon(mine, [1, 1], **options)
    reference = torch.optim.Muon(theirs, nesterov=True, adjust_lr_fn="match_rms_adamw", **options)
    for pair in grads:
        for parameters, optimizer in ((mine, batched), (theirs, reference)):
            for p, grad in zip(parameters, pair, strict=True):
                p.grad = grad.clone()
            optimizer.step()
    for a, b, before in zip(mine, theirs, start, strict=True):
        moved = (b - before).norm()
        assert moved > 0.02
        assert (a - b).norm() < 0.02 * moved  # torch iterates in bf16


def test_fused_weights_are_orthogonalised_apart():
    p = nn.Parameter(torch.zeros(16, 8))
    p.grad = torch.randn(16, 8, generator=torch.Generator().manual_seed(2))
    BatchedMuon([p], [2], lr=1.0, weight_decay=0.0).step()
    for half in p.detach().chunk(2):
        values = torch.linalg.svdvals(half) / (0.2 * 8**0.5)
        assert values.min() > 0.5 and values.max() < 1.3


def test_muon_takes_the_blocks_matrices_and_adamw_all_else(model):
    named = [(f"transformer.{n}", p) for n, p in model.named_parameters()]
    adamw, muon = build_optimizers(named, OptimizerSettings("muon"))
    of_muon = {id(p) for g in muon.param_groups for p in g["params"]}
    of_adamw = {id(p) for g in adamw.param_groups for p in g["params"]}
    assert of_muon.isdisjoint(of_adamw) and len(of_muon | of_adamw) == len(named)
    assert {n for n, p in named if id(p) in of_muon} == {
        f"transformer.blocks.{layer}.{part}.weight"
        for layer in range(2)
        for part in (
            "self_attn.to_qkv",
            "self_attn.proj",
            "cross_attn.to_q",
            "cross_attn.to_kv",
            "cross_attn.proj",
            "ffn.fc1",
            "ffn.fc2",
        )
    }


def test_muon_takes_kernels_as_matrices():
    generator = torch.Generator().manual_seed(3)
    start, grad = (torch.randn(6, 4, 3, 3, generator=generator) for _ in range(2))
    kernel = nn.Parameter(start.clone().to(memory_format=torch.channels_last))
    matrix = nn.Parameter(start.flatten(1).clone())
    kernel.grad, matrix.grad = grad.clone(), grad.flatten(1).clone()
    for p in (kernel, matrix):
        BatchedMuon([p], [1], lr=0.1).step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach())
    with pytest.raises(ValueError, match="matrices and kernels"):
        BatchedMuon([nn.Parameter(torch.zeros(3))], [1], lr=0.1)


def test_of_an_autoencoder_muon_takes_the_residual_blocks_kernels():
    vae = InfinityAutoencoder(16, 32, (1, 1), 1, 16, 8)
    adamw, muon = build_optimizers(vae.named_parameters(), OptimizerSettings("muon"))
    of_muon = {id(p) for g in muon.param_groups for p in g["params"]}
    count = sum(len(g["params"]) for g in (*adamw.param_groups, *muon.param_groups))
    assert count == len(list(vae.parameters()))
    blocks = [m for m in vae.modules() if isinstance(m, ResidualBlock)]
    kernels = {id(p) for m in blocks for p in m.parameters() if p.ndim == 4}
    assert of_muon == kernels


def test_ema_lends_its_average_and_gives_the_weights_back():
    p = nn.Parameter(torch.zeros(3))
    ema = Ema([p], 0.5)
    for _ in range(30):
        p.data += 1
        ema.update()
    with ema.applied():
        assert 28 < p[0].item() < 30
    assert p[0].item() == 30


def test_pace_goes_from_start_to_until_and_ends_annealed():
    pace = Pace(0.0, 10)
    assert [pace.progress(s) for s in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert not pace.finished(9) and pace.finished(10)
    assert Pace(0.0, 10, until=0.5).finished(5)
    leg = Pace(0.0, 0, 0.4, 0.8)
    time.sleep(0.001)
    assert leg.finished(1) and leg.progress(1) == pytest.approx(0.8)
    assert lr_factor(1.0, 500, 10, 0.01) == pytest.approx(0.01)
    assert lr_factor(0.0, 0, 10, 0.01) == pytest.approx(0.1)


def test_settings_refuse_unknown_names():
    values = {"model": {"latent_channels": 16}, "run": {"views": [{"pn": "0.06M"}], "stepps": 3}}
    with pytest.raises(ValueError, match="stepps"):
        parse(TokenizerSettings, values)
    del values["run"]["stepps"]
    found = parse(TokenizerSettings, values)
    assert isinstance(found.run, RunSettings) and found.run.views[0].size == 256
    values["run"]["views"] = [{"scales": 3, "tasks": {"position": 2.0, "two": 1.0}}]
    (view,) = parse(TokenizerSettings, values).run.views
    assert dict(view.tasks) == {"position": 2.0, "two": 1.0} and view.label == "0.06M/3*"
    assert hash(view)  # a view is the key of caches
