"""A benchmark with an official scorer: prompts in, a folder that the scorer reads, scores out.

Below one output folder lie

    images/METHOD/...      what the scorer reads, in its layout and with nothing else in it
    methods/METHOD.json    how the pictures were made (``Manifest``)
    costs/METHOD.*.json    what making them took
    scores/METHOD.*        what the scorer said
    staging/               files that are being written

so that several methods stand side by side, and one table has them as columns.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from toprovar.files import replace_file

if TYPE_CHECKING:
    from PIL import Image

METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Item:
    """One prompt.

    Attributes:
        name: of its files, without suffix; "/" parts folders.
        prompt: what to draw.
        extra: more files that the scorer wants beside the pictures, by path below the method's
            folder.
    """

    name: str
    prompt: str
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Score:
    """A score, and its 95 % interval where the scorer's output allows one."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float]:
        interval = {} if self.low is None or self.high is None else \
            {"low": self.low, "high": self.high}
        return {"score": self.value, **interval}


class Manifest(BaseModel):
    """How a method's pictures were made: what must be the same for all of them.

    Attributes:
        prompts: SHA-256 of the names and texts drawn, in order.
        plan: what was asked for; plan_file: SHA-256 of a saved plan.
        items: names, in order: picture j of item i has seed ``seed + i * images + j``.
        machine: versions and device, for information: another one may go on with a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    benchmark: str
    method: str
    model: str
    fingerprint: str
    plan: dict[str, Any]
    plan_file: str | None
    size: tuple[int, int]
    cfg: float
    tau: float
    top_p: float
    dtype: str
    seed: int
    images: int
    prompts: str
    items: tuple[str, ...]
    machine: dict[str, Any]

    def differences(self, other: Manifest) -> list[str]:
        """Names of settings in which ``other`` would draw other pictures."""
        return [name for name in type(self).model_fields
                if name != "machine" and getattr(self, name) != getattr(other, name)]


class Benchmark(ABC):
    """A benchmark.

    Attributes:
        name: of its module; title: for tables.
        images: pictures for each prompt, unless asked otherwise; most: the scorer's limit.
        square: whether the scorer takes square pictures alone.
        better: "higher" or "lower".
        suffix: of the scorer's output.
    """

    name: str
    title: str
    images: int
    most: int | None = None
    square = False
    better = "higher"
    suffix = ".json"

    @abstractmethod
    def items(self, prompts: Path) -> list[Item]:
        """Read the benchmark's own prompt file or folder."""

    @abstractmethod
    def paths(self, name: str, images: int) -> list[str]:
        """Files of an item's pictures below the method's folder."""

    def score_file(self, out: Path, method: str) -> Path:
        """Where the scorer's output is expected."""
        return out / "scores" / f"{method}{self.suffix}"

    @abstractmethod
    def how(self, out: Path, manifest: Manifest) -> str:
        """The command that scores a method's pictures and leaves the result in ``scores/``."""

    @abstractmethod
    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        """The scorer's output; raises ValueError where it is broken or not whole."""

    def encode(self, pictures: list[Image.Image]) -> list[bytes]:
        """Contents of the files of ``paths``."""
        return [encode_image(picture, "PNG") for picture in pictures]


def encode_image(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def check_items(items: list[Item], where: Path) -> list[Item]:
    """Refuse prompts that are missing, empty, or would share a file."""
    if not items:
        raise ValueError(f"{where}: no prompts in it")
    seen: set[str] = set()
    for item in items:
        if not item.prompt.strip():
            raise ValueError(f"{where}: the prompt of {item.name!r} is empty")
        if item.name in seen:
            raise ValueError(f"{where}: {item.name!r} is there twice")
        if not all(part and part.strip(".") for part in item.name.split("/")) or "\\" in item.name:
            raise ValueError(f"{where}: {item.name!r} cannot be a file's name")
        seen.add(item.name)
    return items


def read_json(path: Path) -> Any:
    """A JSON file; errors name it."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None


def digest(items: list[Item]) -> str:
    """Of names and prompts, in order."""
    text = json.dumps([(item.name, item.prompt) for item in items])
    return hashlib.sha256(text.encode()).hexdigest()


def check_method(name: str) -> str:
    """A method's name is a folder's name, too."""
    if not METHOD.fullmatch(name):
        raise ValueError(f"--method {name!r}: use letters, digits and . _ + - only (it names a "
                         "folder, and scorers show it)")
    return name


def manifest_path(out: Path, method: str) -> Path:
    return out / "methods" / f"{method}.json"


def load_manifest(path: Path) -> Manifest:
    found = read_json(path)
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: not a manifest of this version ({first['loc']}: "
                         f"{first['msg']})") from None


def save_manifest(out: Path, manifest: Manifest) -> None:
    path = manifest_path(out, manifest.method)
    replace_file(path, (manifest.model_dump_json(indent=1) + "\n").encode(), out / "staging")


def missing(bench: Benchmark, out: Path, manifest: Manifest) -> list[str]:
    """Names of items of which a picture is not there."""
    folder = out / "images" / manifest.method
    return [name for name in manifest.items
            if not all((folder / path).is_file() for path in bench.paths(name, manifest.images))]
