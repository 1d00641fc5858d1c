"""How long a picture should take on cards that were not measured: a projection, and its test.

  python -m benchmarks.projection

Operations and bytes of every stage are counted from the shapes of the models and the plans
(``gpu/roofline.py``). A stage takes

    launches x layers + max(operations / (share x tensor rate), bytes / (share x memory rate))

with the rates of the vendor (``cards.toml``). The shares and the time of launches are fitted to one
row of one machine: dense pictures of Infinity-2B on the H100. Everything else that was measured, on
the H100 and on an H200, is the test: predicted against measured. Nothing here is measured anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.models import PROMPT_TOKENS
from benchmarks.gpu.roofline import Work, decoder_work, scale_work, text_work
from benchmarks.gpu.strategies import PRESET, PRESET_UNGUIDED, UNGUIDED, pruned
from toprovar.memory.foresee import foresee
from toprovar.memory.request import Allowance
from toprovar.models.variants import autoencoder_variants, get_variant
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.strategies.base import PlanContext
from toprovar.sparsity.strategies.registry import default_strategy, get_strategy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  # there on 3.10 alone

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "benchmarks/cards.toml"
RESULT = ROOT / "benchmarks/results/projection.json"
GPU = ROOT / "docs/research/benchmarks/gpu.json"
FITTED, ROW = "H100", "dense, graphs"
"""The machine and the row of its section "dense" that the shares are fitted to."""
DENSE, DEFAULT, BUDGET = "dense", "no plan connected", "budget 0.3"
PROJECTED = ("RTX3060", "RTX4090", "RTX5090", "A100", "L40")
MODELS = (("125m", "0.06M"), ("2b", "1M"), ("8b", "1M"))
KEPT_FREE = 0.6
"""GiB of a card that its driver, the context and a screen take."""
STAGES = {"early": (1, 12), "middle": (16, 24), "late": (32, 64)}
"""Sides of a picture's scales, in tokens."""


@dataclass(frozen=True)
class Shares:
    """What was fitted.

    Attributes:
        memory: share of the vendor's memory rate, as one large copy reaches it.
        launch: seconds of a block in which neither products nor bytes count.
        scale, decoder: shares of the vendor's tensor rate in late scales and in the decoder.
        preparation: of the first scale's time, more.
        text: seconds of the text encoder in which neither counts.
    """

    memory: float
    launch: float
    scale: float
    decoder: float
    preparation: float
    text: float


IDEAL = Shares(memory=1, launch=0, scale=1, decoder=1, preparation=0, text=0)
"""The vendor's full rates and nothing beside: no card is faster."""


@dataclass(frozen=True)
class Job:
    """What is drawn: operations and bytes of each stage, and the layers that each scale runs."""

    text: Work
    scales: tuple[Work, ...]
    layers: tuple[int, ...]
    sides: tuple[int, ...]
    decoder: Work


@lru_cache(maxsize=32)
def job(model: str, pn: str, plan: str) -> Job:
    """Counted from the shapes alone; "1M" is 1024 x 1024 pixels."""
    variant = get_variant(model)
    schedule, shape = get_schedule("1.0", pn), variant.config
    made, own = plan_of(model, pn, plan), scale_work(plan_of(model, pn, plan), shape)
    sides = [side * shape.patch for side in schedule.grids[-1]]
    vae = autoencoder_variants()[variant.vae].config
    return Job(
        text_work(shape.text_channels, 1, PROMPT_TOKENS[0]), tuple(own),
        tuple(sum(n > 0 for n in step.keep) if step.run else 0 for step in made.scales),
        tuple(max(grid) for grid in schedule.grids), decoder_work(vae, sides[0], sides[1]))


def plan_of(model: str, pn: str, name: str) -> SparsityPlan:
    """A plan by its name in the results of ``benchmarks.gpu``."""
    shape, schedule = get_variant(model).config, get_schedule("1.0", pn)
    if name == DENSE:
        return dense_plan(shape, schedule)
    if name == PRESET:
        return pruned(shape, schedule, 0.2)
    if name == PRESET_UNGUIDED:
        return pruned(shape, schedule, 0.2, unconditional_off=UNGUIDED)
    strategy = get_strategy(name.lower() if name == "FastVAR" else default_strategy())
    target = Target(0.3) if name == BUDGET else None
    made = strategy.plan(strategy.settings(), PlanContext(shape, schedule, target=target))
    assert isinstance(made, SparsityPlan)
    return made


def predicted(todo: Job, card: dict[str, Any], shares: Shares) -> dict[str, float]:
    """Seconds of every part on a card."""
    tensor, memory = card["tensor"], shares.memory * card["memory"]

    def takes(work: Work, share: float) -> float:
        return max(work.flops / (share * tensor), work.bytes / memory)

    scales = [shares.launch * layers + takes(work, shares.scale) if layers else 0.0
              for work, layers in zip(todo.scales, todo.layers, strict=True)]
    scales[0] *= 1 + shares.preparation
    found = {"text": shares.text + takes(todo.text, shares.scale)}
    for stage, (first, last) in STAGES.items():
        found[stage] = sum(seconds for seconds, side in zip(scales, todo.sides, strict=True)
                           if first <= side <= last)
    found["decoder"] = takes(todo.decoder, shares.decoder)
    return found | {"scales": sum(scales), "picture": sum(found.values())}


def fitted(gpu: dict[str, Any], card: dict[str, Any]) -> Shares:
    """From the row of dense pictures of Infinity-2B and the copy timed in the same run."""
    section = gpu["sections"]["dense"]
    took = next(row for row in section["rows"] if row["name"] == ROW)["stages"]
    todo = job("2b", "1M", DENSE)
    memory = gpu["runs"][section["run"]]["ceilings"]["bytes_per_second"] / card["memory"]
    rate = memory * card["memory"]
    seconds = [took[f"scale {i}"] for i in range(len(todo.scales))]
    narrow = [i for i, side in enumerate(todo.sides) if 2 <= side <= 8]
    launch = median((seconds[i] - todo.scales[i].bytes / rate) / todo.layers[i] for i in narrow)
    wide = [i for i, side in enumerate(todo.sides) if side >= 16]
    scale = sum(todo.scales[i].flops for i in wide) / card["tensor"] / sum(
        seconds[i] - launch * todo.layers[i] for i in wide)
    first = launch * todo.layers[0] + todo.scales[0].bytes / rate
    return Shares(memory, launch, scale, todo.decoder.flops / card["tensor"] / took["decode"],
                  seconds[0] / first - 1, took["text"] - todo.text.bytes / rate)


def stage_rows(gpu: dict[str, Any], card: dict[str, Any], shares: Shares) -> list[dict[str, Any]]:
    """Stage by stage on the machine that was fitted to; of the first row all else follows."""
    found = []
    for model, section, name, plan in (
            ("2b", "dense", ROW, DENSE), ("2b", "strategies", "FastVAR", "FastVAR"),
            ("2b", "strategies", PRESET, PRESET),
            ("2b", "strategies", PRESET_UNGUIDED, PRESET_UNGUIDED),
            ("8b", "8b", "dense", DENSE), ("8b", "8b", PRESET, PRESET),
            ("8b", "8b", PRESET_UNGUIDED, PRESET_UNGUIDED)):
        own = gpu["sections"][section]
        rows = [*own["rows"], *own.get("strategies", {}).get("rows", [])]
        took = next(row for row in rows if row["name"] == name)["stages"]
        todo = job(model, "1M", plan)
        measured = {"text": took["text"], **{
            stage: sum(took.get(f"scale {i}", 0.0) for i, side in enumerate(todo.sides)
                       if first <= side <= last) for stage, (first, last) in STAGES.items()},
            "decoder": took["decode"]}
        measured["picture"] = sum(measured.values())
        said = predicted(todo, card, shares)
        found.append({"model": model, "plan": plan, "fitted": (model, section) == ("2b", "dense"),
                      "measured": measured, "predicted": {k: said[k] for k in measured},
                      "error": {k: said[k] / measured[k] - 1 for k in measured}})
    return found


def picture_rows(gpu: dict[str, Any], cards: dict[str, dict[str, Any]], shares: Shares
                 ) -> list[dict[str, Any]]:
    """Whole pictures as users draw them, on both machines; none of them was fitted to."""
    measured = [("H100", model, gpu["sections"][f"user {model}"]["pn"], name, row["loop_seconds"],
                 row["seconds"]) for model in ("2b", "8b", "125m")
                for row in gpu["sections"][f"user {model}"]["rows"]
                if (name := row["name"]) in (DENSE, DEFAULT, BUDGET)]
    for model in ("2b", "125m"):
        text = (ROOT / f"benchmarks/results/fit-{model}-h200.json").read_text(encoding="utf-8")
        measured += [("H200", model, "1M", row["name"], row["stages"]["scales"], row["seconds"])
                     for row in json.loads(text)["rows"]
                     if row["cap_gib"] is None and row["images"] == 1]
    found = []
    for card, model, pn, name, loop, seconds in measured:
        if model == "125m" and card == "H100" and name == DEFAULT:
            continue  # the automatic choice ran dense there
        said = predicted(job(model, pn, name), cards[card], shares)
        found.append({
            "card": card, "model": model, "pn": pn, "plan": name,
            "measured_loop": loop, "predicted_loop": said["scales"],
            "loop_error": said["scales"] / loop - 1,
            "measured": seconds, "predicted": said["picture"],
            "error": said["picture"] / seconds - 1})
    return found


def projections(cards: dict[str, dict[str, Any]], shares: Shares) -> list[dict[str, Any]]:
    """Cards that were not measured; a picture that does not fit the memory takes longer."""
    found = []
    for key in PROJECTED:
        card = cards[key]
        room = Allowance.parse(f"{card['gigabytes'] - KEPT_FREE}GB exact")
        memory = foresee(torch.device("cpu"), torch.bfloat16, room, tuple(m for m, _ in MODELS))
        for model, pn in MODELS:
            own = memory[model]
            found.append({
                "card": key, "model": model, "pn": pn, "memory": str(own),
                "peak_bytes": own.peak, "fits": own.fits and _whole(own.placement),
                # 125M is so fast that the automatic choice may run it dense
                "plans": {plan: predicted(job(model, pn, plan), card, shares)
                          for plan in (DENSE, DEFAULT, BUDGET)
                          if (model, plan) != ("125m", DEFAULT)},
                "least": predicted(job(model, pn, DENSE), card, IDEAL)["picture"]})
    return found


def _whole(placement: Any) -> bool:
    """Whether nothing comes from host memory in the middle of a picture."""
    return not (placement.streamed or placement.hosted or placement.text or placement.lent)


def summary(errors: Sequence[float]) -> dict[str, float]:
    """Of relative errors."""
    return {"median": median(map(abs, errors)), "largest": max(errors, key=abs),
            "count": len(errors)}


def project() -> dict[str, Any]:
    """Everything, from the results that lie in the repository."""
    gpu, cards = json.loads(GPU.read_text(encoding="utf-8")), read_cards()
    shares = fitted(gpu, cards[FITTED])
    stages, pictures = stage_rows(gpu, cards[FITTED], shares), picture_rows(gpu, cards, shares)
    return {
        "command": "python -m benchmarks.projection",
        "machine": {"name": "counted; no machine"}, "fitted_to": {
            "card": FITTED, "model": "2b", "row": ROW, "file": GPU.relative_to(ROOT).as_posix()},
        "shares": asdict(shares), "stages": stages, "pictures": pictures,
        "errors": {
            "other stages of the H100": summary([
                error for row in stages if not row["fitted"]
                for part, error in row["error"].items() if part != "picture"]),
            "pictures on the H100": summary([r["error"] for r in pictures if r["card"] == "H100"]),
            "scale loops on the H100": summary(
                [r["loop_error"] for r in pictures if r["card"] == "H100"]),
            "pictures on the H200": summary([r["error"] for r in pictures if r["card"] == "H200"]),
            "scale loops on the H200": summary(
                [r["loop_error"] for r in pictures if r["card"] == "H200"]),
        },
        "projections": projections(cards, shares),
    }


def read_cards() -> dict[str, dict[str, Any]]:
    """What the vendor says of each card, from ``cards.toml``."""
    return tomllib.loads(CARDS.read_text(encoding="utf-8"))


def rounded(value: Any) -> Any:
    """Numbers with five digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.projection", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT, help="(default: %(default)s)")
    given = parser.parse_args()
    found = rounded(project())
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, error in found["errors"].items():
        print(f"{name}: median error {100 * error['median']:.0f} %, largest "
              f"{100 * error['largest']:+.0f} % of {error['count']}")


if __name__ == "__main__":
    main()
