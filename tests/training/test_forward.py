from __future__ import annotations

import torch

from toprovar.models.rope import schedule_rotations
from toprovar.models.text import PackedText
from toprovar.ops.attention import attention
from training.forward import Layout, condition, forward
from training.losses import bit_loss, per_scale

LENGTHS = (5, 8, 3)


def _text(channels):
    features = torch.randn(3, 8, channels, generator=torch.Generator().manual_seed(3))
    mask = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
    return features, mask


def _inputs(model, schedule):
    generator = torch.Generator().manual_seed(4)
    count = sum(schedule.tokens) - 1
    return torch.randn(3, count, model.shape.bits_per_token, generator=generator)


@torch.no_grad()
def _engine_logits(model, features, mask, inputs, schedule):
    """The inference modules, one scale at a time over growing keys and values."""
    rows, shape = len(LENGTHS), model.shape
    packed = PackedText(features[mask], LENGTHS)
    text = model.prepare_text(packed)
    rotations = schedule_rotations(schedule, shape.head_dim)
    keys = [torch.zeros(rows, 0, shape.num_heads, shape.head_dim) for _ in range(shape.depth)]
    values = [k.clone() for k in keys]
    found, used = [], 0
    for index, (grid, rotation) in enumerate(zip(schedule.grids, rotations, strict=True)):
        count = grid[0] * grid[1]
        if index == 0:
            x = model.first_tokens(text)
        else:
            codes = inputs[:, used - 1 : used - 1 + count].transpose(1, 2).unflatten(2, grid)
            x = model.embed_codes(codes)
        used += count
        x = x + model.level_embed.weight[index]
        for layer in range(shape.depth):
            block, context = model.block(layer), text.blocks[layer]
            q, k, v = (torch.empty(rows, count, shape.num_heads, shape.head_dim)
                       for _ in range(3))
            block.project_qkv(x, context, rotation, q, k, v, piece=10_000)
            keys[layer] = torch.cat([keys[layer], k], 1)
            values[layer] = torch.cat([values[layer], v], 1)
            seen = attention(
                q.transpose(1, 2), keys[layer].transpose(1, 2), values[layer].transpose(1, 2), 1.0
            )
            block.finish(x, seen.transpose(1, 2).flatten(2), context, piece=10_000)
        found.append(model.logits(x, text))
    return torch.cat(found, 1)


def test_forward_gives_the_engines_logits(model, schedule):
    features, mask = _text(model.shape.text_channels)
    inputs = _inputs(model, schedule)
    layout = Layout.of(schedule, len(schedule), model.shape.head_dim, "cpu")
    with torch.no_grad():
        found = forward(model, condition(model, features, mask), inputs, layout)
    expected = _engine_logits(model, features, mask, inputs, schedule)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_scale_sees_itself_and_earlier_scales_only(model, schedule):
    text = condition(model, *_text(model.shape.text_channels))
    layout = Layout.of(schedule, len(schedule), model.shape.head_dim, "cpu")
    inputs = _inputs(model, schedule)
    start, end = layout.spans[2]
    changed = inputs.clone()
    changed[:, end - 2] += 1.0  # the last token of scale 2; inputs lack scale 0's one token
    with torch.no_grad():
        before = forward(model, text, inputs, layout)
        after = forward(model, text, changed, layout)
    moved = (before - after).abs().amax((0, 2))
    assert moved[:start].max() == 0
    assert moved[start : end - 1].min() > 0  # within a scale everything sees everything
    assert moved[end:].min() > 0


def test_fewer_scales_give_the_same_logits(model, schedule):
    text = condition(model, *_text(model.shape.text_channels))
    layout = Layout.of(schedule, len(schedule), model.shape.head_dim, "cpu")
    inputs = _inputs(model, schedule)
    with torch.no_grad():
        every = forward(model, text, inputs, layout)
        some = forward(model, text, inputs[:, :4], layout.first(2))
    torch.testing.assert_close(some, every[:, :5], atol=1e-5, rtol=0)


def test_every_parameter_gets_a_gradient(model, schedule):
    features, mask = _text(model.shape.text_channels)
    layout = Layout.of(schedule, len(schedule), model.shape.head_dim, "cpu")
    features = torch.where(torch.tensor([True, False, False])[:, None, None],
                           model.null_text[:8], features)
    text = condition(model, features, mask)
    forward(model, text, _inputs(model, schedule), layout).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_bit_loss_is_the_cross_entropy_of_pairs():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 5, 6, generator=generator)
    bits = torch.randint(0, 2, (2, 5, 3), generator=generator).to(torch.uint8)
    pairs = logits.view(2, 5, 3, 2)
    expected = torch.nn.functional.cross_entropy(
        pairs.flatten(0, 2), bits.long().flatten(), reduction="none"
    ).view(2, 5, 3).mean((0, 2))
    torch.testing.assert_close(bit_loss(logits, bits), expected)
    layout = Layout(((0, 1), (1, 5)), torch.empty(5, 1, 2), torch.tensor([0, 1, 1, 1, 1]))
    torch.testing.assert_close(per_scale(expected, layout)[1], expected[1:].mean())
