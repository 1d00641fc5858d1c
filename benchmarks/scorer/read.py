"""Scores of all methods side by side, from what the official scorers wrote."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.scorer.base import Benchmark, Manifest, Score, load_manifest, missing, read_json
from toprovar.files import replace_file
from toprovar.sparsity.plan_table import percent, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, help="the folder that 'write' was given")
    add("--methods", metavar="LIST", help="which, with commas between them (default: all)")
    add("--scores", metavar="METHOD=FILE", action="append", default=[],
        help="a scorer's output that lies elsewhere")
    add("--json", type=Path, metavar="FILE")


def run(bench: Benchmark, given: argparse.Namespace) -> int:
    """Print the table; write the figures."""
    manifests = find_methods(bench, given.out, given.methods)
    files = dict(_pair(text, manifests) for text in given.scores)
    found: dict[str, dict[str, Score]] = {}
    for name, manifest in manifests.items():
        lacking = missing(bench, given.out, manifest)
        if lacking:
            raise ValueError(
                f"{given.out}: {len(lacking)} of {len(manifest.items)} prompts of {name!r} have no "
                f"pictures yet (the first is {lacking[0]}): run 'write' again, it goes on where it "
                "stopped"
            )
        file = files.get(name) or bench.score_file(given.out, name)
        if not file.is_file():
            raise ValueError(f"no scores of {name!r}: expected {file}. Run\n  "
                             f"{bench.how(given.out.absolute(), manifest)}")
        found[name] = bench.read(file, manifest)
    spent = {name: costs(given.out, name) for name in manifests}
    print("\n".join(lines(bench, found, spent)))
    for warning in unequal(manifests):
        print(f"note: {warning}")
    if given.json:
        told = {"benchmark": bench.name, "better": bench.better, "methods": {
            name: {"scores": {task: score.to_json() for task, score in scores.items()},
                   "costs": spent[name],
                   "manifest": manifests[name].model_dump(mode="json", exclude={"items"}),
                   "prompts": len(manifests[name].items)}
            for name, scores in found.items()
        }}
        replace_file(given.json, (json.dumps(told, indent=1) + "\n").encode())
    return 0


def find_methods(bench: Benchmark, out: Path, asked: str | None) -> dict[str, Manifest]:
    """Manifests of the methods that were asked for; dense first."""
    paths = {p.stem: p for p in sorted((out / "methods").glob("*.json"))}
    names = asked.split(",") if asked else sorted(paths, key=lambda n: (n != "dense", n))
    if not names:
        raise ValueError(f"{out}: no pictures in it; run 'python -m benchmarks.{bench.name} write'")
    manifests = {}
    for name in names:
        if name not in paths:
            there = ", ".join(paths) or "none"
            raise ValueError(f"{out}: no pictures of {name!r}; there is {there}")
        manifests[name] = load_manifest(paths[name])
        if manifests[name].benchmark != bench.name:
            raise ValueError(f"{paths[name]}: these pictures are for {manifests[name].benchmark}, "
                             f"not for {bench.name}")
    return manifests


def costs(out: Path, method: str) -> dict[str, float]:
    """Of all processes that drew the method's pictures; empty if they left no record."""
    parts = [read_json(p) for p in sorted((out / "costs").glob(f"{method}.*.json"))
             if p.name.removeprefix(f"{method}.").count(".") == 1]
    pictures = sum(p["pictures"] for p in parts)
    if not pictures:
        return {}
    return {
        "pictures": pictures,
        "seconds_per_picture": sum(p["seconds"] for p in parts) / pictures,
        "token_layer_share": sum(p["token_layers"] for p in parts)
        / sum(p["dense_token_layers"] for p in parts),
    }


def lines(bench: Benchmark, found: dict[str, dict[str, Score]], spent: dict[str, dict[str, float]]
          ) -> list[str]:
    """Tasks by methods, then what the pictures cost."""
    tasks = list(dict.fromkeys(task for scores in found.values() for task in scores))
    rows = [(task, *(_cell(scores.get(task)) for scores in found.values())) for task in tasks]
    for label, key, show in (("token-layers", "token_layer_share", percent),
                             ("seconds a picture", "seconds_per_picture", "{:.3f}".format)):
        rows.append((label, *(show(spent[name][key]) if spent[name] else "-" for name in found)))
    head = (f"{bench.title} ({bench.better} is better)", *found)
    return table(head, rows, left=(0,))


def unequal(manifests: dict[str, Manifest]) -> list[str]:
    """Settings other than the plan in which methods differ: what to know before comparing them."""
    first, *others = manifests.values()
    notes = []
    for other in others:
        differ = [name for name in first.differences(other)
                  if name not in ("method", "plan", "plan_file", "items")]
        if differ:
            notes.append(f"{first.method} and {other.method} differ in {', '.join(differ)}, too")
    return notes


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    text = f"{score.value:.4g}"
    return text if score.low is None else f"{text} ({score.low:.4g}-{score.high:.4g})"


def _pair(text: str, manifests: dict[str, Any]) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator or name not in manifests:
        raise ValueError(f"--scores must look like METHOD=FILE with a method of "
                         f"{', '.join(manifests)}, got {text!r}")
    return name, Path(file)
