from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.random_shortcuts import random_shortcuts
from tests.tiny import tiny_transformer
from toprovar import files
from toprovar.checksums import sealed
from toprovar.entropy.calibration import Calibration, find_calibration, shortcuts_beside
from toprovar.entropy.schedule_entry import (
    Choice,
    ScaleStatistics,
    ScheduleEntry,
    SelectionWorth,
    Spread,
)
from toprovar.files import DATA, add_calibration_folder
from toprovar.schedules import get_schedule
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.shortcuts import find_shortcuts


def make_entry(pn: str = "0.06M", start: int | None = 5, **changes: Any) -> ScheduleEntry:
    some = Spread(mean=0.5, sd=0.1)
    return ScheduleEntry(**{
        "pn": pn, "template": "1.0",
        "scales": tuple(ScaleStatistics(grid=g, entropy=some, relative=some)
                        for g in get_schedule("1.0", pn).grids),
        "start_scale": start, "representative_scale": 3, "beta": 1.0, "ratio_reference": 100.0,
        "class_low": 0.2, "class_high": 0.6, "principal_ratios": (some,) * 4,
        "layer_scores": (0.1, 0.4, 0.8, 1.0),
        "layer_classes": ("global", "ambiguous", "detail", "detail"), **changes,
    })


def make_calibration(**changes: Any) -> Calibration:
    return Calibration(**{
        "model": "4x32-8bit-0123456789abcdef", "depth": 4, "tau": 0.45, "crossing": "falling",
        "rho_informative": True, "prompts": 20,
        "entries": {"0.06M": make_entry(), "0.25M": make_entry("0.25M", 7)}, **changes,
    })


def test_saved_and_loaded(tmp_path: Path) -> None:
    calibration = make_calibration()
    calibration.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == calibration
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_names_of_the_largest_entry() -> None:
    calibration = make_calibration(entries={
        "0.25M": make_entry("0.25M", 7, beta=3.0), "0.06M": make_entry(),
    })
    assert calibration.main.pn == "0.25M" and calibration.beta == 3
    assert calibration.start_scale == {"0.25M": 7, "0.06M": 5}
    assert calibration.layer_classes[0] == "global" and calibration.layer_scores[3] == 1


def test_entry_of_a_schedule() -> None:
    calibration = make_calibration()
    entry, notes = calibration.entry(get_schedule("1.0", "0.25M"))
    assert entry is calibration.entries["0.25M"] and notes == ()
    entry, (note,) = calibration.entry(get_schedule("1.5", "0.25M"))
    assert entry.start_scale == 7 and "aspect 1.0, used at 1.5" in note


def test_an_entry_is_stretched_to_a_budget_that_was_not_calibrated() -> None:
    calibration = make_calibration()
    schedule = get_schedule("1.0", "1M")
    entry, (note,) = calibration.entry(schedule)
    # 0.25M prunes its last 3 of 10 scales, so the last 3 of 13 are pruned
    assert entry.start_scale == 10 and "taken from 0.25M" in note
    assert entry.grids == schedule.grids and entry.representative_scale == 3
    large = make_calibration(entries={"0.25M": make_entry("0.25M", 2)})
    entry, _ = large.entry(get_schedule("1.0", "0.06M"))
    assert entry.start_scale == 1 and len(entry.scales) == 7
    never = make_calibration(entries={"0.25M": make_entry("0.25M", None)})
    assert never.entry(schedule)[0].start_scale is None


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: v.update(version=9), "version"),
    (lambda v: v.pop("model"), "model"),
    (lambda v: v.update(tau="high"), "tau"),
    (lambda v: v.update(tau=1.5), "tau"),
    (lambda v: v.update(crossing="sideways"), "crossing"),
    (lambda v: v.update(surprise=1), "surprise"),
    (lambda v: v.update(entries={}), "entries"),
    (lambda v: v.update(depth=5), "for a model of 5 layers"),
    (lambda v: v.update(alpha_min=0.95), "above alpha_max"),
    (lambda v: v["entries"].update({"1M": v["entries"]["0.06M"]}), "says it is for 0.06M"),
    (lambda v: v["entries"]["0.06M"].update(start_scale=7), "not one of its 7 scales"),
    (lambda v: v["entries"]["0.06M"].update(layer_scores=[1.0]), "1 scores"),
    (lambda v: v["entries"]["0.06M"].update(layer_scores=[1, 1, 1, 2]), "between 0 and 1"),
    (lambda v: v["entries"]["0.06M"].update(class_low=0.7), "must be below class_high"),
    (lambda v: v["entries"]["0.06M"]["layer_classes"].__setitem__(0, "odd"), "layer_classes"),
])
def test_broken_files_say_what_is_wrong(tmp_path: Path, change: Any, message: str) -> None:
    values = make_calibration().to_json()
    change(values)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message) as error:
        Calibration.load(path)
    assert str(path) in str(error.value) and "toprovar calibrate" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'{"tau": NaN}'])
def test_files_that_are_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a (usable )?calibration"):
        Calibration.load(tmp_path / "c.json")


def test_found_by_fingerprint(tmp_path: Path) -> None:
    calibration = make_calibration()
    calibration.save(tmp_path / "c.json")
    assert find_calibration(calibration.model) is None
    assert find_calibration(calibration.model, [tmp_path / "c.json"]) == calibration
    assert find_calibration("other", [tmp_path / "c.json"]) is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(content)


def test_a_file_carries_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibration = make_calibration()
    calibration.save(path)
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values).replace("\n", "\r\n"))  # laid out otherwise, but the same
    assert Calibration.load(path) == calibration
    path.write_text(json.dumps(values | {"tau": 0.46}))  # valid, but another
    with pytest.raises(ValueError, match=r"c\.json: .*not those that were saved \('sha256'"):
        Calibration.load(path)
    del values["sha256"]
    path.write_text(json.dumps(values | {"tau": 0.46}))
    assert Calibration.load(path).tau == 0.46
    path.write_text(json.dumps(values | {"sha256": None}))
    with pytest.raises(ValueError, match="not those that were saved"):
        Calibration.load(path)


def test_a_file_of_before_there_were_checksums(tmp_path: Path) -> None:
    calibration = make_calibration(shortcuts="0123456789abcdef")
    (tmp_path / "c.json").write_text(json.dumps(calibration.to_json()))
    (tmp_path / "c.safetensors").write_bytes(b"whatever")
    assert Calibration.load(tmp_path / "c.json") == calibration


def test_shortcuts_have_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "calibrations"
    folder.mkdir()
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    calibration, beside = make_calibration(shortcuts="0123456789abcdef"), folder / "c.safetensors"
    beside.write_bytes(b"maps of any kind")
    calibration.save(folder / "c.json")
    assert find_calibration(calibration.model) == calibration
    flip(beside)
    told = r"c\.safetensors: .*not the one that c\.json was saved with"
    assert find_calibration(calibration.model) is None and re.search(told, caplog.text)
    with pytest.raises(ValueError, match=told):  # asked for by name
        find_calibration(calibration.model, [folder / "c.json"])
    flip(beside)
    os.utime(beside, ns=(1, 1))
    assert find_calibration(calibration.model) == calibration  # mended, in the same process
    beside.unlink()  # perhaps they lie elsewhere: who makes a plan with them is told
    assert find_calibration(calibration.model) == calibration
    flip(folder / "c.json")
    caplog.clear()
    assert find_calibration(calibration.model) is None and "c.json" in caplog.text


def test_an_added_folder_goes_before_the_users_and_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    monkeypatch.setattr(files, "_ADDED", [])
    add_calibration_folder(tmp_path / "added")  # not there yet
    add_calibration_folder(tmp_path / "later")
    [shipped] = (DATA / "calibrations").glob("*.json")
    calibration = Calibration.load(shipped)
    assert find_calibration(calibration.model) == calibration
    for name in ("calibrations", "later", "added"):  # each before those of before
        own = calibration.model_copy(update={"name": name})
        (tmp_path / name).mkdir()
        own.save(tmp_path / name / "own.json")
        assert find_calibration(calibration.model) == own


def test_shortcuts_in_an_added_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    monkeypatch.setattr(files, "_ADDED", [tmp_path])
    own = random_shortcuts("elsewhere", tiny_transformer().shape, [LinearShortcut(4, 5, 2)], seed=5)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        find_shortcuts(own.identity)
    own.save(tmp_path / "own.safetensors")
    assert find_shortcuts(own.identity).model == "elsewhere"


def test_the_embedded_models_saved_with_its_shortcuts(tmp_path: Path) -> None:
    [shipped] = (DATA / "calibrations").glob("*.json")
    calibration = Calibration.load(shipped)
    find_shortcuts(calibration.shortcuts or "").save(shortcuts_beside(tmp_path / "own.json"))
    calibration.save(tmp_path / "own.json")
    assert set(json.loads((tmp_path / "own.json").read_text())) >= {"sha256", "shortcuts_sha256"}
    assert Calibration.load(tmp_path / "own.json") == calibration


MEASURED = Choice(guided=6, likeness=0.95, ssim=0.97, pictures=48, half_width=0.002, time=0.8)
RANDOM = SelectionWorth(rule="random", gain=0.0003, half_width=0.0008, pictures=24, share=0.5,
                        decided=True)


def test_what_was_measured_besides_is_saved(tmp_path: Path) -> None:
    bare = Choice(guided=6, likeness=0.95, ssim=0.97)
    alone = RANDOM.model_copy(update={"half_width": None, "pictures": 1, "decided": False})
    for choices, worth in (((MEASURED,), RANDOM), ((MEASURED, bare), alone)):
        calibration = make_calibration(entries={
            "0.06M": make_entry(choices=choices, selection=worth), "0.25M": make_entry("0.25M", 7)})
        calibration.save(tmp_path / "c.json")
        assert Calibration.load(tmp_path / "c.json") == calibration
        assert "selection" not in calibration.to_json()["entries"]["0.25M"]
        assert calibration.to_json()["entries"]["0.06M"]["selection"] == worth.model_dump()
    again = Choice(guided=6, likeness=0.95, ssim=0.97)
    assert again == bare != MEASURED and hash(again) == hash(bare)
    assert alone.used == "entropy" and RANDOM.used == "random"


def test_a_file_of_before_these_were_measured_stays_as_it_was(tmp_path: Path) -> None:
    [shipped] = (DATA / "calibrations").glob("*.json")
    values = json.loads(shipped.read_text())
    for entry in values["entries"].values():
        entry.pop("selection", None)
        for choice in entry["choices"]:
            for name in ("pictures", "half_width", "time"):
                choice.pop(name, None)
    values = {name: value for name, value in values.items() if not name.endswith("sha256")}
    (tmp_path / "old.json").write_text(json.dumps(sealed(values), indent=1) + "\n")
    found = Calibration.load(tmp_path / "old.json")
    entry = found.main
    assert entry.selection is None and entry.choices[0].pictures is None
    found.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "old.json").read_bytes()


@pytest.mark.parametrize("change", [
    {"pictures": 0}, {"half_width": -0.1}, {"gain": float("nan")}, {"share": 0.0}, {"share": 1.5},
    {"rule": "change"}, {"more": 1}])
def test_a_worth_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SelectionWorth(**{**RANDOM.model_dump(), **change})


@pytest.mark.parametrize("change", [{"pictures": 0}, {"half_width": -0.1}, {"time": 0.0}])
def test_so_is_a_choice(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Choice(**{**MEASURED.model_dump(), **change})


def test_one_that_measured_nothing_goes_behind_one_that_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a calibration that was stopped too soon, where the box has a whole one."""
    whole = make_calibration()
    pn, entry = next(iter(whole.entries.items()))
    begun = whole.model_copy(update={"dropped": "exit", "entries": {
        pn: entry.model_copy(update={"choices": ()})}})
    assert begun.unfinished and not whole.unfinished
    own, box = tmp_path / "own", tmp_path / "box"
    for folder in (own, box):
        folder.mkdir()
    monkeypatch.setattr("toprovar.entropy.calibration.calibration_folders", lambda: [box, own])
    begun.save(own / "begun.json")
    assert find_calibration(whole.model, pn=pn) == begun  # better than none, for its entropies
    whole.save(box / "whole.json")
    assert find_calibration(whole.model, pn=pn) == whole
    assert find_calibration(whole.model, pn="1M") == whole
