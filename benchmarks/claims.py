"""Figures in the documentation, and where each comes from (``claims.toml``).

A claim quotes a document word for word, with the measured numbers in braces, and says for each
where its value lies in a result. A number in a document that no claim and no ``plain`` text covers
is unclaimed: no figure gets in without its source.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  # there on 3.10 alone

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = Path(__file__).with_name("claims.toml")

NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)*(?:e-?\d+)?(?!\w|\.\d)")
"""Not "2B", "0.25M" or "float32": a number that is part of a word is a name."""
_NO_PROSE = re.compile(r"^```.*?^```|`[^`]*`|(?<=\])\([^)]*\)", re.DOTALL | re.MULTILINE)
_MARKED = re.compile(r"\{([^{}]*)\}")


class Value(BaseModel):
    """One number of a result: ``(at [/ over] + plus) * times``, and times 100 before a "%".

    Attributes:
        at, over: JSON pointers (RFC 6901), such as ``/fp32/ratio``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    at: str
    over: str | None = None
    plus: float = 0.0
    times: float = 1.0

    def read(self, found: Any) -> float:
        value = _number(found, self.at)
        if self.over is not None:
            value /= _number(found, self.over)
        return (value + self.plus) * self.times


class Source(BaseModel):
    """Where figures come from: a committed result, a command that prints one, or both.

    Attributes:
        result: JSON file, from the root of the repository; it is what the documents are held to.
        command: what makes it; None = the one that ``result`` names. An argument that names the
            result's file is where the command writes; otherwise it prints JSON as its last line.
        machine: what it was made on; None = the one that ``result`` names.
        kind: "quick" = seconds on any machine; "slow" = minutes; "device" = needs a GPU; "joined" =
            put together from several runs, so that no one command repeats it.
        timing: the figures are times, and differ from machine to machine.
        tolerance: relative, most that a re-run may differ from the recorded value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    result: str | None = None
    command: str | None = None
    machine: str | None = None
    kind: Literal["quick", "slow", "device", "joined"]
    timing: bool = False
    tolerance: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _has_an_origin(self) -> Source:
        if self.result is None and (self.command is None or self.kind != "quick"):
            raise ValueError("a source without a committed result needs a command and kind quick")
        return self


class Claim(BaseModel):
    """Figures of one sentence or table row.

    Attributes:
        id: for the report.
        source: name of the source.
        file: the document.
        text: as it stands there, once, with the figures in braces; how lines break is ignored.
            ``{}`` stands for a number that another claim accounts for.
        values: where each figure in braces lies in the source, in their order.
        tolerance: in place of the source's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    source: str
    file: str = "README.md"
    text: str
    values: tuple[Value, ...]
    tolerance: float | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("values"), list):
            values = [{"at": v} if isinstance(v, str) else v for v in given["values"]]
            return {**given, "values": values}
        return given

    @model_validator(mode="after")
    def _one_value_a_figure(self) -> Claim:
        marked = self.stated
        wrong = [m for m in marked if not NUMBER.fullmatch(m)]
        if not marked or wrong:
            raise ValueError("text needs its figures in braces, such as {0.81}"
                             + (f", got {', '.join(wrong)}" if wrong else ""))
        if len(marked) != len(self.values):
            raise ValueError(f"{len(marked)} figures in braces, {len(self.values)} values")
        return self

    @property
    def stated(self) -> tuple[str, ...]:
        return tuple(filter(None, _MARKED.findall(self.text)))

    def found(self, result: Any) -> list[float]:
        """The values of a result, in the unit in which the text states them."""
        ends = [m.end() for m in _MARKED.finditer(self.text) if m[1]]
        return [value.read(result) * (100 if re.match(r"\s*%", self.text[end:]) else 1)
                for value, end in zip(self.values, ends, strict=True)]


class ClaimsFile(BaseModel):
    """``claims.toml``.

    Attributes:
        plain: for each document in which every number must be claimed: texts whose numbers are
            no measurements (versions, sizes, settings), wherever they occur.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    plain: dict[str, tuple[str, ...]]
    source: dict[str, Source]
    claim: tuple[Claim, ...]

    @model_validator(mode="after")
    def _names_fit(self) -> ClaimsFile:
        ids = [c.id for c in self.claim]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"claim ids must differ, these are there twice: {', '.join(twice)}")
        for claim in self.claim:
            if claim.source not in self.source:
                raise ValueError(f"claim {claim.id!r} names the source {claim.source!r}; there is "
                                 f"{', '.join(self.source)}")
        return self


def load_claims(path: Path = CLAIMS) -> ClaimsFile:
    """Read and check a claims file.

    Raises:
        ValueError: naming the entry that is wrong.
    """
    try:
        return ClaimsFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None


def load_result(source: Source, root: Path = ROOT) -> tuple[Any, str, str]:
    """(committed result or None, command, machine) of a source.

    Raises:
        ValueError: a file that is missing or broken, or that does not say how it was made.
    """
    found: Any = None
    if source.result is not None:
        path = root / source.result
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{source.result}: no readable result ({error})") from None
    about = found if isinstance(found, dict) else {}
    command = source.command or about.get("command")
    machine = source.machine or about.get("machine", {}).get("name")
    if command is None or (found is not None and machine is None):
        raise ValueError(f"{source.result}: says neither command nor machine: give them in the "
                         "claims file")
    return found, command, machine or "any"


def agrees(stated: str, value: float) -> bool:
    """Whether ``value``, rounded to the digits of ``stated``, is ``stated``."""
    number = Decimal(stated.replace(",", ""))
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # NUMBER matches no infinity
    return abs(value - float(number)) <= 0.5 * 10.0**exponent * (1 + 1e-9)


@dataclass(frozen=True)
class Place:
    """Where a claim stands in a document; ``problem`` if it does not, in words."""

    spans: tuple[tuple[int, int], ...] = ()
    problem: str | None = None


def locate(claim: Claim, document: str) -> Place:
    """Spans of the claim's figures in ``document``."""
    hits = list(re.finditer(_pattern(claim.text, exact=True), document))
    if len(hits) == 1:
        return Place(tuple(hits[0].span(i + 1) for i in range(len(claim.values))))
    if hits:
        return Place(problem=f"its text stands {len(hits)} times in {claim.file}: quote more of it")
    other = re.search(_pattern(claim.text, exact=False), document)
    if other:
        return Place(problem=f"{claim.file} has {', '.join(other.groups())} where the claim has "
                             f"{', '.join(claim.stated)}")
    return Place(problem=f"its text is not in {claim.file}")


def unclaimed(document: str, claims: list[Claim], plain: tuple[str, ...]) -> list[str]:
    """Lines with numbers that nothing accounts for, as "line 12: 0.81 in ..."; and ``plain`` texts
    that are not in the document any more."""
    covered = [span for claim in claims for span in locate(claim, document).spans]
    problems = []
    for text in plain:
        spans = [m.span() for m in re.finditer(_pattern(text, exact=True), document)]
        covered += spans
        if not spans:
            problems.append(f"plain text that is not there: {text!r}")
    prose = _NO_PROSE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), document)
    for number in NUMBER.finditer(prose):
        if not any(a <= number.start() and number.end() <= b for a, b in covered):
            line = document.count("\n", 0, number.start())
            problems.append(f"line {line + 1}: {number[0]} in {document.splitlines()[line]!r}")
    return problems


def _pattern(text: str, exact: bool) -> str:
    """A regular expression for ``text`` with any white space, its marked figures as groups."""
    words = []
    for word in text.split():
        parts = _MARKED.split(word)  # text, figure, text, figure ... text
        words.append("".join(
            re.escape(part) if i % 2 == 0
            else NUMBER.pattern if not part
            else f"({re.escape(part) if exact else NUMBER.pattern})"
            for i, part in enumerate(parts)
        ))
    return r"\s+".join(words)


def _number(found: Any, pointer: str) -> float:
    value = found
    for key in pointer.removeprefix("/").split("/"):
        key = key.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"no {pointer!r} in the result (it ends at {key!r})") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{pointer!r} is {value!r}, not a number")
    return float(value)
