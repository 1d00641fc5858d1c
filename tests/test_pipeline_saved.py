"""Pictures that a pipeline's result saves: what they say of themselves, and that it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar import InfinityPipeline, get_schedule, make_plan, read_parameters
from toprovar.cli import main

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> InfinityPipeline:
    pipe = InfinityPipeline.from_folder(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def array(source: Any) -> Any:
    return np.asarray(source if isinstance(source, Image.Image) else Image.open(source))


@pytest.mark.parametrize("strategy", [None, "fastvar"])
def test_a_saved_picture_is_drawn_again_by_the_command_line(
        pipeline: InfinityPipeline, folder: Path, tmp_path: Path, strategy: str | None) -> None:
    size = get_schedule("1.0", "0.06M")
    plan = None if strategy is None else make_plan(pipeline, strategy, size)
    result = pipeline(["a red cat", "a (blue:1.3) dog"], "bad", seed=[5, 9], plan=plan,
                      num_images_per_prompt=1, guidance_scale=2.5, prompt_weights=True)
    files = result.save(tmp_path / "pet.png")
    assert files == [tmp_path / "pet-1.png", tmp_path / "pet-2.png"]
    about = read_parameters(files[1])
    assert about["prompt"] == "a (blue:1.3) dog" and about["negative_prompt"] == "bad"
    assert about["seed"] == 9 and about["prompt_weights"] is True
    assert ("sparsity_plan" in about) == (plan is not None)
    for file, image in zip(files, result.images, strict=True):
        assert np.array_equal(array(file), array(image))
        again = tmp_path / f"again-{file.name}"
        assert main(["generate", "--from", str(file), "--model", str(folder), "--quiet",
                     "--out", str(again)]) == 0
        assert np.array_equal(array(again), array(image))


def test_every_picture_has_its_own_seed_and_prompt(pipeline: InfinityPipeline, tmp_path: Path
                                                   ) -> None:
    files = pipeline(["a cat", "a dog"], seed=3, num_images_per_prompt=2).save(tmp_path / "x.webp")
    found = [(read_parameters(f)["prompt"], read_parameters(f)["seed"]) for f in files]
    assert found == [("a cat", 3), ("a cat", 4), ("a dog", 5), ("a dog", 6)]


def test_seeds_are_told_only_where_they_draw_the_picture(pipeline: InfinityPipeline, tmp_path: Path
                                                         ) -> None:
    def seeds(**how: Any) -> list[int | None]:
        files = pipeline("a cat", **how).save(tmp_path / "x.png")
        return [read_parameters(file).get("seed") for file in files]

    fresh = torch.Generator().manual_seed(4)
    assert seeds(generator=fresh) == [4]
    assert seeds(generator=fresh) == [None]  # it has gone on
    assert seeds() == [None]
    several = [torch.Generator().manual_seed(n) for n in (7, 8)]
    assert seeds(generator=several, num_images_per_prompt=2) == [7, 8]
    assert seeds(generator=torch.Generator().manual_seed(4), num_images_per_prompt=2) \
        == [None, None]


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_arrays_and_tensors_are_saved_as_the_pictures(pipeline: InfinityPipeline, tmp_path: Path,
                                                      kind: Any) -> None:
    expected = pipeline("a cat", seed=1).images[0]
    file, = pipeline("a cat", seed=1, output_type=kind).save(tmp_path / "x.png")
    assert np.array_equal(array(file), array(expected))


def test_edits_are_sent_back_to_python(pipeline: InfinityPipeline, folder: Path, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    picture = pipeline("a cat", seed=1).images[0]
    file, = pipeline.vary(picture, "a dog", 0.5, seed=2).save(tmp_path / "v.png")
    assert read_parameters(file)["edit"] == {"command": "Python", "strength": 0.5}
    assert main(["generate", "--from", str(file), "--model", str(folder)]) == 2
    assert "an edit of a picture: draw it again in Python" in capsys.readouterr().err
    picture.save(tmp_path / "source.png")
    assert main(["vary", str(tmp_path / "source.png"), "--from", str(file), "--model", str(folder),
                 "--out", str(tmp_path / "again.png")]) == 2
    assert "made in Python, not by 'toprovar vary'" in capsys.readouterr().err
    odd, = pipeline("a cat", seed=1, top_k=1).save(tmp_path / "k.png")
    assert main(["generate", "--from", str(odd), "--model", str(folder)]) == 2
    assert "it was drawn in Python with top_k = 1" in capsys.readouterr().err


def test_a_finished_draft_is_a_picture_like_others(pipeline: InfinityPipeline, tmp_path: Path
                                                   ) -> None:
    draft = pipeline.draft("a cat", seed=5, num_images_per_prompt=2)
    file, = pipeline.finish(draft, [1]).save(tmp_path / "f.png")
    about = read_parameters(file)
    assert about["seed"] == 6 and about["prompt"] == "a cat" and "edit" not in about
    larger, = pipeline.finish(draft, [1], pn="0.25M").save(tmp_path / "l.png")
    assert read_parameters(larger)["edit"] == {"command": "Python"}


def test_what_cannot_be_saved_says_so(pipeline: InfinityPipeline, tmp_path: Path) -> None:
    result = pipeline("a cat", seed=1)
    with pytest.raises(ValueError, match=r"path must end in .png, .jpg, .jpeg, .webp"):
        result.save(tmp_path / "x.gif")
    with pytest.raises(ValueError, match="quality must be between 1 and 100"):
        result.save(tmp_path / "x.jpg", quality=0)
    with pytest.raises(ValueError, match="codes and no pictures"):
        pipeline("a cat", seed=1, output_type="latent").save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
    assert len(result.to_tuple()) == 3  # as before
    with pytest.warns(UserWarning, match="too long for the parameters in a JPEG"):
        pipeline("a cat " * 20_000, seed=1).save(tmp_path / "x.jpg")
