"""The file that ``toprovar bench`` writes: everything in it, and nothing else.

The file is made to be posted. It has no field for names of users, hosts, files or folders, for
serial numbers, or for prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ..printable import one_line
from .spread import Interval

FORMAT: Literal["toprovar-bench"] = "toprovar-bench"
VERSION = 1
MOST_BYTES = 1 << 20
"""Of a file that is read."""
_ROW = re.compile(r"\[([-+.\deE,\s]+)\]")
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Word = Annotated[str, StringConstraints(max_length=120, pattern=r"^[^\x00-\x1f\x7f/\\]*$")]
"""A short name or version. It cannot hold a path."""
Line = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00-\x1f\x7f/\\]*$")]
"""As ``Word``, of a whole sentence."""
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Versions(BaseModel):
    """Versions of what took part.

    Attributes:
        driver: of the GPU; runtime: CUDA's or ROCm's, that torch was built for. None = there is
            none, or it could not be found out. The same holds for ``triton``.
    """

    model_config = _STRICT

    toprovar: Word
    torch: Word
    triton: Word | None
    python: Word
    driver: Word | None
    runtime: Word | None


class Machine(BaseModel):
    """What was measured.

    Attributes:
        device: where the model ran: "cuda", "cpu" or "mps"; name: of this device.
        memory_bytes: of the device; None = unknown.
        capability: the compute capability of an NVIDIA GPU.
        system: the family of the operating system.
        processor: the model of the CPU; cores: that this process may use; threads: torch's.
    """

    model_config = _STRICT

    device: Literal["cuda", "cpu", "mps"]
    name: Word
    memory_bytes: Count | None
    capability: Word | None
    system: Word
    processor: Word
    cores: Count
    threads: Count


class Subject(BaseModel):
    """The model, and the size of its pictures.

    Attributes:
        name: of the variant of Infinity that has this shape, "embedded" for the model that comes
            with the package, or "unnamed".
        weights: "random" = made for the measurement, so the pictures mean nothing; "own" = a
            user's; "embedded" = those of the package.
        depth, width, heads: of the transformer; parameters: of the whole pipeline.
        dtype: of the transformer's blocks.
    """

    model_config = _STRICT

    name: Word
    weights: Literal["random", "own", "embedded"]
    depth: Count
    width: Count
    heads: Count
    parameters: Count
    pixels: Word
    image_height: Count
    image_width: Count
    dtype: Word
    guidance: float
    temperature: float


class Picture(BaseModel):
    """One picture: its time from prompt to picture, and the parts of that time.

    Attributes:
        seconds: by the host's clock; text, scales, decode: by the device's. What is left is done
            between the parts.
    """

    model_config = _STRICT

    seconds: Seconds
    text: Seconds
    scales: Seconds
    decode: Seconds


class Pictures(BaseModel):
    """Times of several pictures, in their order; see ``Picture``."""

    model_config = _STRICT

    seconds: tuple[Seconds, ...]
    text: tuple[Seconds, ...]
    scales: tuple[Seconds, ...]
    decode: tuple[Seconds, ...]

    @model_validator(mode="after")
    def _even(self) -> Pictures:
        if len({len(self.seconds), len(self.text), len(self.scales), len(self.decode)}) > 1:
            raise ValueError("seconds, text, scales and decode must be of one length")
        return self

    @staticmethod
    def of(pictures: Sequence[Picture]) -> Pictures:
        """The times of pictures, part by part."""
        return Pictures(**{part: tuple(getattr(one, part) for one in pictures)
                           for part in Pictures.model_fields})

    def __len__(self) -> int:
        return len(self.seconds)


class Runs(BaseModel):
    """Pictures of one kind.

    Attributes:
        plan: the name of the strategy that the last picture ran.
        flop_share: its FLOPs as a share of a dense run's; None = not counted.
        first: the first picture of this kind, in which kernels are compiled and scales recorded.
        warm_up: pictures after the first that are not counted.
        pictures: those that are counted, in the order of the rounds.
        peak_bytes: the most memory of a GPU that torch held during counted pictures.
        memory: how the device's memory was planned, in a line. Empty = it was not planned.
    """

    model_config = _STRICT

    plan: Word
    flop_share: float | None
    first: Picture
    warm_up: Count
    pictures: Pictures
    peak_bytes: Count | None
    memory: Line


class Conditions(BaseModel):
    """How it was measured.

    Attributes:
        limit_seconds: that the whole run was allowed; seconds: that it took, loading included.
        load_seconds: until the model was on its device.
        rounds: pairs of a dense and an accelerated picture that were drawn. The last of them are
            counted, from the last change of the accelerated plan on.
        ended: "enough" = the wanted number of rounds; "time" = the limit came first.
        busy: whether something else seemed to use the machine; spread: the middle half of the
            dense times of all rounds over their median, which shows it; other_cores: cores that
            other programs used meanwhile. None = unknown.
    """

    model_config = _STRICT

    limit_seconds: Seconds
    seconds: Seconds
    load_seconds: Seconds
    rounds: Count
    ended: Literal["enough", "time"]
    busy: bool
    spread: Seconds | None
    other_cores: Seconds | None


class BenchResult(BaseModel):
    """A short benchmark of one machine and one model, as it is written to a file.

    Attributes:
        format, version: of the file; date: the day, as YYYY-MM-DD.
        ratio: dense over accelerated time, prompt to picture; loop_ratio: of the scale loop alone.
            Above 1 the accelerated run is faster. None = no rounds were finished.
    """

    model_config = _STRICT

    format: Literal["toprovar-bench"] = FORMAT
    version: Literal[1] = VERSION
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    versions: Versions
    machine: Machine
    subject: Subject
    dense: Runs
    accelerated: Runs
    ratio: Interval | None
    loop_ratio: Interval | None
    conditions: Conditions

    def to_json(self) -> str:
        """The file's text; numbers have six digits, rows of numbers a line."""
        text = json.dumps(_short(self.model_dump(mode="json")), indent=1)
        return _ROW.sub(lambda row: "[" + " ".join(row[1].split()) + "]", text) + "\n"

    @staticmethod
    def load(path: str | Path) -> BenchResult:
        """Read a file of :meth:`to_json`.

        Raises:
            ValueError: it is none, or of another version; the message names the file.
            OSError: it cannot be read.
        """
        path = Path(path)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path} is no file of 'toprovar bench': it is larger than "
                             f"{MOST_BYTES >> 20} MiB")
        try:
            return BenchResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is no file of 'toprovar bench', version {VERSION}: "
                             f"{one_line(place)}: {one_line(first['msg'])}") from None


def _short(value: Any) -> Any:
    """Numbers with six digits: a clock has no more."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
