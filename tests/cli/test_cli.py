from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


def generate(*arguments: object) -> int:
    return main(["generate", *map(str, arguments)])


def test_a_picture_with_its_parameters(model: Path, tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "a.png", tmp_path / "a.json"
    assert generate("a red apple", "--model", model, "--seed", 7, "--cfg", 2, "--negative", "a cat",
                    "--out", out, "--report", report) == 0
    image = Image.open(out)
    assert image.size == (256, 256)
    saved = json.loads(image.info["toprovar"])  # type: ignore[attr-defined]  # PNG has it
    assert saved["prompt"] == "a red apple" and saved["seed"] == 7
    assert saved["negative_prompt"] == "a cat" and saved["params"]["cfg"] == [2.0] * 7
    told = json.loads(report.read_text())
    assert told["plan"] == "dense" and len(told["scales"]) == 7 and told["versions"]["toprovar"]
    captured = capsys.readouterr()
    assert str(out) in captured.out and "7/7" in captured.err


def test_seeds_count_up_and_repeat(model: Path, tmp_path: Path) -> None:
    assert generate("a dog", "--model", model, "--seed", 3, "--num", 2, "--out",
                    tmp_path / "b.png") == 0
    assert generate("a dog", "--model", model, "--seed", 4, "--out", tmp_path / "c.png") == 0
    first, second = (Image.open(tmp_path / f"b-{i}.png").tobytes() for i in (1, 2))
    assert second == Image.open(tmp_path / "c.png").tobytes() != first


@pytest.mark.parametrize(("how", "size"), [
    (["--size", "320x240"], (320, 240)),
    (["--aspect", "3:2", "--pixels", "0.06M"], (336, 224)),
    (["--aspect", "2:3"], (224, 336)),
])
def test_sizes(model: Path, tmp_path: Path, how: list[str], size: tuple[int, int]) -> None:
    assert generate("a dog", "--model", model, *how, "--out", tmp_path / "s.png") == 0
    assert Image.open(tmp_path / "s.png").size == size


@pytest.mark.parametrize(("arguments", "message"), [
    (["--size", "big"], "must look like 1024x768"),
    (["--size", "1x1", "--pixels", "1M"], "either --size"),
    (["--aspect", "wide"], "3:2"),
    (["--pixels", "9M"], "unknown pixel budget"),
    (["--out", "x.gif"], "must end in .png"),
    (["--out", "absent/x.png"], "does not exist"),
    (["--num", "0"], "between 1 and 1000"),
    (["--device", "abacus"], "unknown device"),
    (["--dtype", "int8"], "unknown dtype"),
    (["--attention", "fa9"], "attention backend"),
    (["--tau", "0"], "tau must be above 0"),
    (["--vae", "x.pth"], "together"),
])
def test_bad_arguments_say_what_to_do(
    model: Path, tmp_path: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--vae" not in arguments:
        arguments = [*arguments, "--model", str(model)]
    assert generate("a cat", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("a cat", "--model", tmp_path, "--out", tmp_path / "x.png") == 2
    assert "toprovar convert" in capsys.readouterr().err


def test_convert_and_back(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official, again = tmp_path / "official", tmp_path / "again"
    assert main(["convert", str(model), str(official)]) == 0
    assert main(["convert", str(official / "transformer.pth"), str(official / "vae.pth"),
                 str(model / "text_encoder"), str(model / "tokenizer"), str(again)]) == 0
    assert "transformer" in capsys.readouterr().out
    pictures = []
    for folder in (model, again):
        out = tmp_path / "x.png"
        assert generate("a cat", "--model", folder, "--pixels", "0.06M", "--tau", 1, "--out", out
                        ) == 0
        pictures.append(Image.open(out).tobytes())
    assert pictures[0] == pictures[1]
    assert main(["convert", str(model), str(official)]) == 2  # refuses to overwrite
    assert str(official) in capsys.readouterr().err


def test_official_checkpoints_by_name(model: Path, tmp_path: Path) -> None:
    main(["convert", str(model), str(tmp_path / "o")])
    how = ["--transformer", tmp_path / "o" / "transformer.pth", "--vae", tmp_path / "o" / "vae.pth",
           "--text-encoder", tmp_path / "t5", "--pixels", "0.06M"]
    pipeline = tiny_pipeline()
    pipeline.text_encoder.save_pretrained(tmp_path / "t5")
    pipeline.tokenizer.save_pretrained(tmp_path / "t5")
    assert generate("a cat", *how, "--tau", 1, "--cfg", 3, "--out", tmp_path / "a.png") == 0
    assert generate("a cat", "--model", model, "--tau", 1, "--cfg", 3, "--out",
                    tmp_path / "b.png") == 0
    assert Image.open(tmp_path / "a.png").tobytes() == Image.open(tmp_path / "b.png").tobytes()


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("torch", "attention backends", "will use: ", "models: ", "triton"):
        assert word in text
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["use"]["dtype"] and found["attention"]["auto"] == "available"


def test_help_names_every_command() -> None:
    run = subprocess.run([sys.executable, "-m", "toprovar", "--help"], capture_output=True,
                         text=True, check=True)
    for command in ("generate", "convert", "conformance", "doctor"):
        assert command in run.stdout


def test_importing_is_cheap() -> None:
    code = ("import sys, toprovar, toprovar.cli; "
            "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL'} & set(sys.modules); "
            "sys.exit(', '.join(sorted(heavy)) or 0)")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("error", "told"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total"),
     "memory ran out (CUDA out of memory). What helps: a smaller --pixels,"),
    (torch.OutOfMemoryError("this does not fit: 2 blocks stay. What helps: a smaller size"),
     "toprovar doctor: this does not fit: 2 blocks stay. What helps: a smaller size\n"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate "
                  "memory: you tried to allocate 9 bytes"), "memory ran out ([enforce fail"),
    (MemoryError(), "memory ran out (MemoryError). What helps:"),
])
def test_memory_that_runs_out_is_told_in_a_line(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from toprovar.cli import doctor

    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    assert main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_other_errors_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from toprovar.cli import doctor

    def fail(arguments: object) -> int:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(doctor, "run", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        main(["doctor"])
