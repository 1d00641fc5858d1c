"""Features of pictures: the judge's, and the second network's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from toprovar.evaluation.compositional.decode import Thresholds
from toprovar.evaluation.compositional.detector import Detector, DetectorConfig
from toprovar.evaluation.compositional.judge import Judge
from toprovar.evaluation.features import JudgeFeatures, level_maps, tiles, unit_distance
from toprovar.evaluation.second import SecondConfig, SecondNetwork


@pytest.fixture(scope="module")
def features() -> JudgeFeatures:
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(2, 2, (8, 12, 16, 16), (1, 1, 1, 1), 8, 64)).eval()
    return JudgeFeatures(Judge(detector, ("a", "b"), ("red", "blue"), Thresholds()))


def _pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 8, 8, generator=generator)
    return F.interpolate(small, (side, side), mode="bilinear", align_corners=False)


def test_tiles_are_the_pictures_pieces_in_order() -> None:
    picture = torch.arange(2 * 3 * 16 * 16).float().view(2, 3, 16, 16) / 2000
    cut = tiles(picture, 8)
    assert torch.equal(cut[1], picture[0, :, :8, 8:]) and torch.equal(cut[6], picture[1, :, 8:, :8])
    assert torch.equal(tiles(picture, 16), picture)


def test_sizes_of_features_do_not_depend_on_the_pictures(features: JudgeFeatures) -> None:
    for side in (64, 128):
        assert features.whole(_pictures(3, side)).shape == (3, 16)
        assert features.fine(_pictures(3, side)).shape == (3, 2 * (8 + 12))


def test_features_are_those_of_the_levels(features: JudgeFeatures) -> None:
    pictures = _pictures(2, 64)
    maps = level_maps(features.judge.detector, pictures)
    assert torch.allclose(features.whole(pictures), maps[2].mean((2, 3)), atol=1e-5)
    fine = features.fine(pictures)
    assert torch.allclose(fine[:, :8], maps[0].mean((2, 3)), atol=1e-5)
    assert torch.allclose(fine[:, 8:16], maps[0].flatten(2).std(2), atol=1e-5)


def test_fine_features_see_what_a_small_copy_hides(features: JudgeFeatures) -> None:
    pictures = _pictures(4, 256)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    noisy = (pictures + noise).clamp(0, 1)
    moved = [(f(noisy) - f(pictures)).norm() / f(pictures).norm()
             for f in (features.whole, features.fine)]
    assert moved[1] > 2 * moved[0]


def test_distance_is_zero_for_equals_and_grows_with_damage(features: JudgeFeatures) -> None:
    pictures = _pictures(3, 128)
    assert torch.equal(features.distance(pictures, pictures), torch.zeros(3))
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    found = [features.distance((pictures + s * noise).clamp(0, 1), pictures).mean()
             for s in (0.02, 0.1, 0.4)]
    assert found[0] < found[1] < found[2]
    with pytest.raises(ValueError, match="pictures differ"):
        features.distance(pictures, _pictures(3, 64))


def test_unit_distance_is_that_of_unit_vectors() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    wanted = torch.zeros(2)
    for row in range(2):
        for i in range(4):
            for j in range(4):
                x, y = a[row, :, i, j], b[row, :, i, j]
                wanted[row] += (x / x.norm() - y / y.norm()).square().sum() / 16
    assert torch.allclose(unit_distance(a, b), wanted, atol=1e-5)
    assert torch.allclose(unit_distance(a, 3 * a), torch.zeros(2), atol=1e-6)


def test_a_second_network_is_read_back_as_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SecondNetwork(SecondConfig(3, 2, 4, (8, 16), (1, 1))).half().float().eval()
    model.save(tmp_path / "second.safetensors", {"steps": 1})
    read = SecondNetwork.load(tmp_path / "second.safetensors")
    pictures = _pictures(2, 64)
    assert torch.equal(read.features(pictures), model.features(pictures))
    assert read.features(pictures).shape == (2, 32) and read.config == model.config
    logits = read(pictures)
    assert [tuple(t.shape) for t in logits] == [(2, 8, 8, n) for n in (4, 2, 16)]


def test_what_is_no_second_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "second.safetensors"
    with pytest.raises(FileNotFoundError, match=r"training\.train_second"):
        SecondNetwork.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        SecondNetwork.load(path)
    with pytest.raises(ValueError, match="positive numbers"):
        SecondConfig(0, 1)
    with pytest.raises(ValueError, match="multiples of 8"):
        SecondNetwork(SecondConfig(1, 1, 2, (8, 8), (1, 1))).features(torch.zeros(1, 3, 20, 20))
