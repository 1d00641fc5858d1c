from __future__ import annotations

import torch

from toprovar.models.rope import positions, rotation_table


def test_ties_round_to_even() -> None:
    # 5 tokens over 70: 0, 14, 28 ...; 4 over 6: 0, 1.5, 3, 4.5 -> 0, 2, 3, 4
    assert positions(5, 70).tolist() == [0, 14, 28, 42, 56]
    assert positions(4, 6).tolist() == [0, 2, 3, 4]


def test_halves_turn_with_y_and_x() -> None:
    table = rotation_table((4, 4), (4, 4), head_dim=16).view(4, 4, 8, 2)
    # y half does not depend on x, x half not on y
    assert torch.equal(table[:, 0, :4], table[:, 3, :4])
    assert torch.equal(table[0, :, 4:], table[3, :, 4:])
    # position 2, frequency 0: angle 2
    torch.testing.assert_close(table[2, 0, 0], torch.tensor([2.0, 2.0]).cos() * torch.tensor(
        [1.0, 0.0]) + torch.tensor([2.0, 2.0]).sin() * torch.tensor([0.0, 1.0]))


def test_frequencies() -> None:
    table = rotation_table((8, 8), (8, 8), head_dim=16).view(8, 8, 8, 2)
    for j in range(4):
        angle = torch.tensor(3 * 10000 ** (-2 * j / 8))
        torch.testing.assert_close(table[0, 3, 4 + j, 0], angle.cos())
