"""Files of prompts among ComfyUI's inputs, drawn into a folder of its outputs."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...toprovar.batch.jobs import Job, Settings
from ...toprovar.batch.source import ModelSource, Planned
from ...toprovar.files import DATA
from .host import Progress, folder_paths, stop_if_interrupted
from .infinity import Infinity, PlanChoice, TextEncoder
from .planning import described

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.batch.local import Summary
    from ...toprovar.models.text import PackedText
    from ...toprovar.pipeline import InfinityPipeline
    from ...toprovar.sampling.params import EngineOptions
    from ...toprovar.schedules import ScaleSchedule

ENDINGS = (".csv", ".jsonl", ".ndjson", ".txt")
EXAMPLE = "example (in the box)"
"""A file of eight rows for the embedded model, for trying the node without a file of one's own."""
CONNECTED = "connected"
"""What the connected plan is called among the settings of a batch."""
SHOWN = 64
"""Pictures that the node shows, of the last rows."""
PREVIEW = 512
"""Pixels of the longer side of the picture that is shown meanwhile."""


def row_files() -> dict[str, Path]:
    """Files of prompts in ComfyUI's input folder, newest first, then the example: name -> path."""
    base = Path(folder_paths.get_input_directory())
    files = [path for path in base.rglob("*")
             if path.suffix.lower() in ENDINGS and path.is_file()]
    files.sort(key=lambda path: (-path.stat().st_mtime, str(path)))
    example = DATA / "prompts" / "example-rows.csv"
    return {path.relative_to(base).as_posix(): path for path in files} | {EXAMPLE: example}


def folder_error(folder: str) -> str | None:
    """What is wrong with a folder below ComfyUI's output folder, in words."""
    parts = Path(folder.replace("\\", "/")).parts
    if not folder.strip() or Path(folder).is_absolute() or ".." in parts or ":" in folder:
        return (f"folder must be the name of a folder inside ComfyUI's output folder, got "
                f"{folder!r}: use a name such as prompts/first")
    return None


@dataclass(frozen=True)
class NodeSource(ModelSource):
    """Draws with a loaded model; rows without a plan get the connected one.

    Attributes:
        infinity: the model; chosen: the connected plan; default: size of rows that name none.
    """

    infinity: Infinity | None = None
    chosen: PlanChoice | None = None
    default: ScaleSchedule | None = None

    def load(self) -> InfinityPipeline:
        assert self.infinity is not None
        return self.infinity.pipeline

    def options(self) -> EngineOptions:
        assert self.infinity is not None
        return self.infinity.options

    def schedule(self, job: Job, pipeline: InfinityPipeline) -> ScaleSchedule:
        if job.size is None and self.default is not None:
            return self.default
        return super().schedule(job, pipeline)

    def plan(self, job: Job, pipeline: InfinityPipeline, schedule: ScaleSchedule) -> Planned:
        if job.plan != CONNECTED or self.chosen is None:
            return super().plan(job, pipeline, schedule)
        if self.chosen.fixed is not None:
            self.chosen.fixed.check_fits(pipeline.transformer.shape, schedule)
        return Planned(self.chosen.plan, CONNECTED, {"plan": CONNECTED})

    def told(self) -> dict[str, Any]:
        from ...toprovar.models.fingerprint import model_fingerprint

        assert self.infinity is not None and self.default is not None
        plan = None if self.chosen is None else \
            hashlib.sha256(_plan_text(self.chosen).encode()).hexdigest()[:16]
        return {
            "model": self.infinity.name,
            "weights": model_fingerprint(self.infinity.pipeline.transformer),
            "dtype": str(self.infinity.pipeline.transformer.compute_dtype),
            "attention": self.infinity.attention, "narrow_cache": self.infinity.narrow_cache,
            "size": self.default.to_json()["grids"][-1], "plan": plan,
        }


@dataclass
class NodeHost:
    """ComfyUI's manager decides what is on the device."""

    infinity: Infinity
    text_encoder: TextEncoder
    weights: bool

    def encode(self, text: str) -> PackedText:
        return self.text_encoder.encode([text], self.weights).features

    def place(self, schedule: ScaleSchedule, planned: Planned, images: int, cfg: float | None
              ) -> None:
        self.infinity.place(schedule, images, self.infinity.guided(cfg or 0), planned.plan,
                            pictures=self.infinity.decodes, with_vae=True)


@dataclass
class Watch:
    """Shows how far a batch is. Pictures are finished by threads of their own, and ComfyUI is told
    by the thread that it runs the node in.

    Args:
        total: pictures.
    """

    total: int
    done: int = 0
    _shown: int = -1
    _picture: Image.Image | None = None

    def __post_init__(self) -> None:
        self._progress = Progress(self.total)

    def on_progress(self, done: int, total: int) -> None:
        self.done = done

    def on_picture(self, line: dict[str, Any], image: Image.Image) -> None:
        small = image.copy()
        small.thumbnail((PREVIEW, PREVIEW))
        self._picture = small

    def check(self) -> None:
        """Between layers: raises when the user has asked to stop."""
        if self.done == self._shown:
            stop_if_interrupted()
            return
        self._shown = self.done
        self._progress.at(self._shown, self._picture)


def draw_file(source: NodeSource, text_encoder: TextEncoder, file: Path, folder: str,
              settings: Settings, retry: bool, chunks: dict[str, str]
              ) -> tuple[Summary, Path]:
    """Draw a file's rows into a folder; what came of it, and the folder.

    Args:
        chunks: texts for every PNG, by name.
    """
    from ...toprovar.batch.local import Batch
    from ...toprovar.batch.row_files import read_rows

    assert source.infinity is not None
    out = Path(folder_paths.get_output_directory()) / folder
    batch = Batch(read_rows(file), out, settings, source, out, retry)
    watch = Watch(len(batch.jobs))
    done = batch.run(
        pipeline=source.infinity.pipeline, progress=watch.on_progress, check=watch.check,
        host=NodeHost(source.infinity, text_encoder, settings.word_weights),
        on_picture=watch.on_picture, chunks=lambda job: chunks)
    return done, out


def comfyui_chunks(prompt: Any, more: Any) -> dict[str, str]:
    """What ComfyUI's own Save Image puts into a PNG; nothing with --disable-metadata."""
    arguments = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    if getattr(arguments, "disable_metadata", False):
        return {}
    found = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return {**found, **{name: json.dumps(value) for name, value in (more or {}).items()}}


def _plan_text(choice: PlanChoice) -> str:
    if choice.fixed is not None:
        return choice.fixed.model_dump_json()
    return f"{choice.plan!r} {described(choice)}"
