"""The README's figures against their sources, and a checker that notices what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.check_claims import check, main, repeat, wanted
from benchmarks.claims import (
    ROOT,
    Claim,
    ClaimsFile,
    Source,
    agrees,
    load_claims,
    load_result,
    locate,
    unclaimed,
)
from benchmarks.conformance import summary
from benchmarks.strategies import work
from toprovar.conformance import ConformanceReport
from toprovar.conformance.check import Check

DOCUMENT = """# Speed

About 2B models at 0.25M pixels, [paper](https://example.org/2602.1), `seed=3`.

| float32 | 0.81 x | 84 % |

It runs in 1,234 ms, within
2.6e-5 of dense.

```
cost 17
```
"""


def make(text: str, *pointers: str) -> Claim:
    return Claim.model_validate({"id": "a", "source": "s", "text": text, "values": [*pointers]})


def test_every_figure_holds() -> None:
    """README and model card say what the committed results say, and nothing else."""
    assert main([]) == 0


def test_sources_say_how_and_where_they_were_made() -> None:
    for name, source in load_claims().source.items():
        result, command, machine = load_result(source)
        assert command.split()[0] in ("python", "toprovar"), name
        assert result is None or machine != "any", name
        if source.kind == "device":
            assert any(card in machine for card in ("H100", "H200", "L40", "RTX", "A100")), name


@pytest.mark.parametrize(("stated", "value", "holds"), [
    ("0.81", 0.8149, True), ("0.81", 0.8151, False), ("98", 98.5, True), ("2.6e-5", 2.575e-5, True),
    ("2.7e-5", 2.575e-5, False), ("1,234", 1234.4, True), ("0.970", 0.9696, True),
])
def test_a_figure_is_held_to_its_last_digit(stated: str, value: float, holds: bool) -> None:
    assert agrees(stated, value) is holds


def test_every_number_needs_a_claim() -> None:
    table = make("| float32 | {0.81} x | {84} % |", "/a", "/b")
    rest = make("It runs in {1,234} ms, within {2.6e-5} of dense", "/a", "/b")
    assert unclaimed(DOCUMENT, [table, rest], ()) == []
    missed = unclaimed(DOCUMENT, [rest], ())
    assert [m.split(" in ")[0] for m in missed] == ["line 5: 0.81", "line 5: 84"]
    assert unclaimed(DOCUMENT, [rest], ("| 0.81 x |", "84 %")) == []
    # A number beside the marked ones is not covered by the claim.
    beside = make("| float32 | {0.81} x | 84 % |", "/a")
    assert [m[:10] for m in unclaimed(DOCUMENT, [beside, rest], ())] == ["line 5: 84"]
    assert "not there" in unclaimed(DOCUMENT, [table, rest], ("0.99 x",))[0]


def test_a_claim_that_the_document_does_not_make() -> None:
    assert locate(make("| float32 | {0.83} x |", "/a"), DOCUMENT).problem == \
        "README.md has 0.81 where the claim has 0.83"
    assert locate(make("bfloat16 | {0.81} x |", "/a"), DOCUMENT).problem == \
        "its text is not in README.md"
    twice = locate(make("{0.81} x", "/a"), DOCUMENT * 2).problem
    assert twice and "stands 2 times" in twice
    place = locate(make("| float32 | {} x | {84} %", "/a"), DOCUMENT)
    assert [DOCUMENT[a:b] for a, b in place.spans] == ["84"]


@pytest.mark.parametrize(("fields", "message"), [
    ({"text": "no figure"}, "figures in braces"),
    ({"text": "{about 3} x"}, "got about 3"),
    ({"text": "{3} x {4} x"}, "2 figures in braces, 1 values"),
    ({"source": "t"}, "names the source 't'"),
])
def test_bad_entries_are_named(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    entry = {"id": "a", "source": "s", "text": "{3} x", "values": ["/a"]} | fields
    lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
    file = tmp_path / "claims.toml"
    file.write_text('[plain]\n[source.s]\ncommand = "python -c 1"\nkind = "quick"\n[[claim]]\n'
                    + "\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        load_claims(file)


def test_a_result_that_cannot_carry_its_claim(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("It takes 0.81 x.")
    (tmp_path / "r.json").write_text('{"command": "python -m x", "machine": {"name": "M"}, '
                                     '"a": 0.83, "b": "much", "c": [1, 2]}')

    def problems(pointer: str, repeated: dict[str, Any]) -> list[str]:
        claims = ClaimsFile(
            plain={"README.md": ()}, source={"s": Source(result="r.json", kind="slow",
                                                         tolerance=0.1)},
            claim=(Claim.model_validate({"id": "a", "source": "s", "text": "{0.81} x",
                                         "values": [pointer]}),),
        )
        rows, faults = check(claims, repeated, tmp_path)
        assert not faults
        return rows[0].problems

    assert problems("/a", {}) == ["README.md says 0.81, r.json gives 0.83"]
    assert "not a number" in problems("/b", {})[0] and "no '/d'" in problems("/d", {})[0]
    assert "no '/c/7'" in problems("/c/7", {})[0]
    # A re-run is held to the recorded value, within the tolerance.
    assert len(problems("/a", {"s": {"a": 0.88}})) == 1
    assert "a re-run gives 0.95" in problems("/a", {"s": {"a": 0.95}})[1]
    assert problems("/a", {"s": "it ended with 1"})[0] == "it ended with 1"


def test_percent_and_arithmetic() -> None:
    claim = Claim.model_validate({
        "id": "a", "source": "s", "text": "{1.3} % more, {17.6} M, {2.0} x",
        "values": [{"at": "/x", "plus": -1.0}, {"at": "/n", "times": 1e-6},
                   {"at": "/t/0", "over": "/t/1"}],
    })
    found = {"x": 1.0128, "n": 17620946, "t": [4, 2]}
    assert claim.found(found) == pytest.approx([1.28, 17.620946, 2.0])


def test_repeating_a_source(tmp_path: Path) -> None:
    printed = Source(command="-", kind="quick")
    assert repeat(printed, "python -c 'print(\"x\\n{\\\"a\\\": 2}\")'", tmp_path) == {"a": 2}
    assert "gave no JSON" in repeat(printed, "python -c 'print(1, 2)'", tmp_path)
    assert "ended with 3: why" in repeat(
        printed, "python -c 'import sys; print(\"why\"); sys.exit(3)'", tmp_path)
    # What names the result's file is written elsewhere: a re-run does not replace the record.
    kept = Source(result="r.json", kind="slow")
    (tmp_path / "r.json").write_text("{}")
    write = "python -c 'import sys; open(sys.argv[1], \"w\").write(\"{\\\"a\\\": 3}\")' r.json"
    assert repeat(kept, write, tmp_path) == {"a": 3}
    assert (tmp_path / "r.json").read_text() == "{}"


def test_what_is_repeated_when() -> None:
    quick, slow = Source(command="x", kind="quick"), Source(result="r", kind="slow")
    times, device = Source(result="r", kind="slow", timing=True), Source(result="r", kind="device")
    assert [wanted(s, "quick", False) for s in (quick, slow)] == [None, ""]
    assert [wanted(s, "all", False) for s in (quick, slow)] == [None, None]
    assert wanted(times, "all", False) == "times: --timing" and wanted(times, "all", True) is None
    assert wanted(device, "quick", True) == "needs a GPU"
    assert wanted(quick, "none", True) == ""


def test_the_model_card_that_ships_is_the_one_that_is_checked() -> None:
    shipped = ROOT / "toprovar" / "bundled" / "infinity-emoji" / "README.md"
    assert shipped.read_text("utf-8") == (ROOT / "training" / "MODEL_CARD.md").read_text("utf-8")


def test_conformance_is_summed_up_by_kind() -> None:
    found = summary(ConformanceReport((
        Check("1m/runs/greedy logits.3", 1e-5, 2e-4), Check("1m/runs/greedy logits.4", 3e-5, 2e-4),
        Check("1m/runs/greedy bits.3", 0.0, 0.0, "2 near-ties differ"),
        Check("1m/runs/greedy bits.4", 5.0, 0.0), Check("text_normed", 0.0, 1e-6),
    ), ()))
    assert (found["tensors"], found["within"]) == (5, 4)
    assert (found["bits_that_differ"], found["near_ties"]) == (5, 2)
    assert found["kinds"]["logits"] == {"tensors": 2, "largest": 3e-5, "limit": 2e-4}
    assert set(found["kinds"]) == {"logits", "bits", "text_normed"}


def test_work_is_counted_as_it_is_measured() -> None:
    """The recorded runs' shares of FLOPs are those that are counted without a run."""
    recorded = json.loads((ROOT / "benchmarks/results/strategies-cpu.json").read_text())["models"]
    counted = work("125m", "0.60M", 0.3)
    assert {"fastervar", "stop", "ldpruning"} < counted.keys()  # which no run is recorded of
    for strategy in ("toprovar", "fastvar", "skipvar"):
        share = recorded["125m"][strategy]["flop_share"]
        assert counted[strategy]["flop_share"] == pytest.approx(share, abs=1e-3)
