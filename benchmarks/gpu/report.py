"""Tables and figures out of results: docs/research/benchmarks/gpu.md, .json and .png."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import strategies, words
from benchmarks.gpu.figures import draw
from benchmarks.gpu.first import verdicts as first_verdicts
from benchmarks.gpu.results import rounded
from benchmarks.gpu.user import verdicts
from toprovar.files import replace_file

Found = dict[str, Any]

AIMS = (
    # section, row's name begins with, milliseconds a picture
    ("dense", "dense", 255), ("strategies", strategies.PRESET, 145),
    ("strategies", strategies.PRESET_UNGUIDED, 120),
    ("8b", "dense", 760), ("8b", strategies.PRESET, 380),
)
"""Set beforehand for one H100, prompt to uint8 picture, 1024 px, warm."""
OVERHEAD_AIM = 0.03
DENSE = ("dense", "dense, graphs", "dense, eager")
"""Rows that ratios to dense are of, the first that there is. Others (plain blocks, a narrow
residual) are variants."""


def write_report(results: Sequence[Path], docs: Path) -> list[Path]:
    """Merge results (a later one replaces sections of those before) and write the report.

    Returns:
        the files.
    """
    merged = merge([json.loads(path.read_text(encoding="utf-8")) for path in results])
    docs.mkdir(parents=True, exist_ok=True)
    files = {
        docs / "gpu.json": (json.dumps(rounded(merged), indent=1) + "\n").encode(),
        docs / "gpu.md": report(merged).encode(),
        docs / "gpu.png": draw(merged),
    }
    for path, content in files.items():
        replace_file(path, content)
    return list(files)


def merge(results: Sequence[Found]) -> Found:
    """One result; each section knows the run it comes from, as ratios hold within a run only. A
    merged result may be among them."""
    merged: Found = {"runs": [], "sections": {}, "left_out": {}}
    for result in results:
        before = len(merged["runs"])
        merged["runs"] += result.get("runs") or [{
            key: value for key, value in result.items() if key not in ("sections", "left_out")}]
        for name, section in result["sections"].items():
            merged["sections"][name] = section | {"run": before + section.get("run", 0)}
            merged["left_out"].pop(name, None)
        merged["left_out"] |= result["left_out"]
    return merged


def report(merged: Found) -> str:
    """The whole page."""
    parts = [words.INTRO]
    parts += [run_line(i, run) for i, run in enumerate(merged["runs"])]
    sections = merged["sections"]
    parts += aims(sections)
    if any(name in sections for name in ("dense", "strategies", "8b")):
        parts += ["## What the rows are\n", words.ROWS]
    for name, title in (("dense", "The official program and our engine, dense"),
                        ("strategies", "Strategies"), ("8b", "The large model")):
        if name in sections:
            parts += speed(name, title, sections[name], sections)
    if any(name.startswith("user ") for name in sections):
        parts += users(sections)
    writers: dict[str, Callable[[Found], list[str]]] = {
        "first": firsts, "batches": batches, "overhead": overhead, "correctness": correctness,
        "memory": memory, "8b-memory": memory}
    for name, writer in writers.items():
        if name in sections:
            parts += writer(sections[name])
    if merged["left_out"]:
        parts.append("## Left out\n\n" + "\n".join(
            f"- {what}: {why}" for what, why in merged["left_out"].items()) + "\n")
    return "\n".join(parts)


def users(sections: Found) -> list[str]:
    """Pictures as somebody makes them."""
    own = {name.removeprefix("user "): found for name, found in sections.items()
           if name.startswith("user ")}
    parts = ["## Pictures as a user draws them\n", words.USERS,
             table(("model", "what", "aim", "measured", "met"),
                   [verdict for name, found in own.items() for verdict in verdicts(name, found)])]
    for name, found in own.items():
        parts += [f"### {name}, {found['pn']}\n", table(
            ("what is set", "first picture, s", "steady, ms", "dense beside it, ms",
             "time over dense", "GPU busy, ms", "work", "scales replayed", "launches"),
            [(row["name"], f"{row['first_over_eager']:+.2f}", f"{row['seconds'] * 1e3:.1f}",
              f"{row['dense_seconds'] * 1e3:.1f}", f"{row['of_dense']:.2f} x",
              f"{row['busy_seconds'] * 1e3:.1f}",
              "-" if row["flop_share"] is None else f"{row['flop_share']:.0%}",
              f"{row['replayed_scales']} of {row['scales']}", str(row["host_launches"]))
             for row in found["rows"]])]
    return parts


def firsts(found: Found) -> list[str]:
    """The first picture after a start."""
    return [f"## The first picture after a start: {found['model']}\n",
            words.FIRST,
            table(("what", "aim", "measured", "met"),
                  [verdict[1:] for verdict in first_verdicts("first", found)]),
            table(("Triton's cache", "first picture, s", "warm eager dense picture, s",
                   "difference, s"),
                  [(row["cache"], f"{row['first_seconds']:.2f}",
                    f"{row['eager_dense_seconds']:.2f}", f"{row['first_over_eager']:+.2f}")
                   for row in found["rows"]])]


def run_line(index: int, run: Found) -> str:
    machine, ceilings = run["machine"], run.get("ceilings", {})
    versions = ", ".join(f"{name} {machine[name]}" for name in
                         ("torch", "cuda", "triton", "transformers", "toprovar")
                         if machine.get(name))
    line = f"Run {index + 1}, {run['date']}: {machine['name']}; {versions}. `{run['command']}`"
    if ceilings:
        line += (f". One large product: {ceilings['flops_per_second'] / 1e12:.0f} TFLOP/s "
                 f"({run['dtype']}); one large copy: {ceilings['bytes_per_second'] / 1e12:.2f} "
                 "TB/s, read and written")
    return line + ".\n"


def aims(sections: Found) -> list[str]:
    """What was aimed at and what came out, where the models are those of the aims."""
    rows = []
    for section, name, limit in AIMS:
        found = sections.get(section, {})
        if (found.get("model"), found.get("pn")) != ("8b" if section == "8b" else "2b", "1M"):
            continue
        own = [row for row in every_row(found)
               if row["name"] in (DENSE if name == "dense" else (name,))]
        if own:
            best = min(own, key=lambda row: row["seconds"])
            rows.append((found["model"], best["name"], f"{limit} ms",
                         f"{best['seconds'] * 1e3:.0f} ms",
                         "yes" if best["seconds"] * 1e3 <= limit else "no"))
    first = sections.get("dense", {}).get("rows", [])
    eager = next((row for row in first if row["name"] == "dense, eager"), None)
    graphs = next((row for row in first if row["name"] == "dense, graphs"), None)
    if eager and graphs:
        factor = graphs["first_seconds"] / eager["seconds"]
        rows.append((sections["dense"]["model"], "first picture with graphs, against a warm eager",
                     "2.00 x", f"{factor:.2f} x", "yes" if factor <= 2 else "no"))
    if not rows:
        return []
    return ["## Aims\n", words.AIMS, table(("model", "what", "aim", "measured", "met"), rows)]


def every_row(found: Found) -> list[Found]:
    return [*found.get("rows", []), *found.get("strategies", {}).get("rows", [])]


def speed(name: str, title: str, found: Found, sections: Found) -> list[str]:
    """Prompt to picture, stage by stage, and by kernels."""
    rows = every_row(found)
    source = found if name != "strategies" else sections.get("dense", {})
    official = None
    if source.get("run") == found.get("run") and source.get("model") == found.get("model"):
        official = next((row for row in source.get("rows", []) if row["name"] == "official"), None)
    parts = [f"## {title}: {found['model']}, {found['pn']}\n", words.SPEED, table(
        ("program or plan", "wall, ms", "busy, ms", "times as fast as dense: wall", "busy",
         "times as fast as the official program: wall", "busy", "first picture, s",
         "peak memory of the run, GB", "work, TFLOP", "scales, share of the roofline"),
        [speed_row(row, rows, official) for row in rows])]
    if found.get("engine"):
        parts.append(words.ENGINE.format(engine=found["engine"]))
    notes = sorted({note for row in rows for note in row.get("notes", [])})
    parts += [f"- {note}" for note in notes] + ([""] if notes else [])
    shown = [row for row in rows if row["name"].startswith(("official", "dense"))
             or row["name"] in (strategies.PRESET, strategies.PRESET_UNGUIDED)]
    parts += ["### Time by stage\n", words.STAGES, stages(shown),
              "### Time by kind of kernel\n", words.KERNELS, groups(shown)]
    parts += [top(row) for row in shown[-2:]]
    return parts


def speed_row(row: Found, rows: Sequence[Found], official: Found | None) -> tuple[str, ...]:
    named = {r["name"]: r for r in rows}
    dense = next((named[name] for name in DENSE if name in named), row)
    against = row.get("dense_seconds", dense["seconds"])
    ratio = (row["faster_than_first"] if "dense_seconds" in row else against / row["seconds"])
    return (
        row["name"], f"{row['seconds'] * 1e3:.1f}", f"{row['busy_seconds'] * 1e3:.1f}",
        f"{ratio:.2f} x", f"{dense['busy_seconds'] / row['busy_seconds']:.2f} x",
        f"{official['seconds'] / row['seconds']:.2f} x" if official else "-",
        f"{official['busy_seconds'] / row['busy_seconds']:.2f} x" if official else "-",
        f"{row['first_seconds']:.2f}",
        f"{row['run_bytes'] / 1e9:.2f}" if "run_bytes" in row else "-",
        f"{row['flops'] / 1e12:.2f}", f"{row['roofline']['scales']['share']:.0%}",
    )


def stages(rows: Sequence[Found]) -> str:
    """Stages down, contenders across."""
    names = list(dict.fromkeys(stage for row in rows for stage in row["roofline"]))
    return table(("stage", *(row["name"] for row in rows)), [
        (stage, *(f"{one['seconds'] * 1e3:.2f} ({one['share']:.0%})"
                  if (one := row["roofline"].get(stage)) else "-" for row in rows))
        for stage in names])


def groups(rows: Sequence[Found]) -> str:
    """Milliseconds by kind of kernel."""
    kinds = list(rows[0]["trace"]["groups"]) if rows else []
    return table(("program or plan", *kinds, "launches"), [
        (row["name"], *(f"{row['trace']['groups'][kind] * 1e3:.1f}" for kind in kinds),
         str(row["trace"]["launches"])) for row in rows])


def top(row: Found) -> str:
    """The kernels that take longest."""
    return (f"The kernels that take longest in *{row['name']}*, with their kind, number of calls "
            "and time:\n\n") + table(
        ("kernel", "kind", "calls", "ms"),
        [(f"`{kernel['name'][:70]}`", kernel["group"], str(kernel["calls"]),
          f"{kernel['seconds'] * 1e3:.2f}") for kernel in row["trace"]["top"]])


def batches(found: Found) -> list[str]:
    sizes = list(dict.fromkeys(row["images"] for row in found["rows"]))
    names = list(dict.fromkeys(row["name"] for row in found["rows"]))
    rate = {(row["name"], row["images"]): row for row in found["rows"]}
    return [f"## Pictures a second by batch size: {found['model']}, {found['pn']}\n",
            words.BATCHES, table(
        ("plan", *map(str, sizes)),
        [(name, *(f"{rate[name, size]['images_per_second']:.2f}" if (name, size) in rate else "-"
                  for size in sizes)) for name in names])]


def overhead(found: Found) -> list[str]:
    rows = [(what, f"{row['wall_share']:.1%}", f"{row['busy_share']:.1%}",
             "yes" if row["wall_share"] <= OVERHEAD_AIM else "no")
            for what, row in found.items() if isinstance(row, dict)]
    return [f"## The cost of planning and choosing: {found['model']}\n",
            words.OVERHEAD.format(aim=OVERHEAD_AIM), table(
        ("decision", "share of wall time", "share of GPU busy time", "aim met"), rows)]


def memory(found: Found) -> list[str]:
    rows = [(row["name"], *(f"{row[what]['seconds'] * 1e3:.0f}" for what in ("dense", "preset")),
             *(f"{row['dense'].get(key, 0) / 2**30:.1f}" for key in ("peak_bytes",
                                                                     "reserved_bytes")),
             f"{row['logits_error']:.1%}", f"{row['equal_bits']:.2%}") for row in found["rows"]]
    return [f"## Memory: {found['model']}, {found['pn']}\n",
            words.MEMORY,
            table(("options", "dense, ms", "preset 20 %, late guidance off, ms", "peak, GiB",
                   "reserved, GiB", "logits off by", "equal greedy bits"), rows)]


def correctness(found: Found) -> list[str]:
    lines = ["## Correctness\n", words.CORRECTNESS]
    for name, row in found.get("float32", {}).items():
        ways = "".join(f"; {key}: {value} bits" for key, value in row.items()
                       if key.endswith("differs from eager"))
        lines.append(f"- {name} in float32 without TF32: of {row['bits']} bits "
                     f"{row['device_differs_from_host']} differ between GPU and CPU "
                     f"({row['of_near_ties']} of them near ties), and logits differ by "
                     f"{row['logits_differ_by']:.3g} at most{ways}.")
    recorded = found.get("conformance", {})
    lines.append("- Recorded results of the official code: "
                 f"{recorded.get('summary') or recorded.get('left_out')}.")
    narrow = found.get("narrow", {})
    for name, row in narrow.items():
        if isinstance(row, int):
            lines.append(f"- {narrow['model']} in {narrow['dtype']}, {name}: {row} bits.")
        if isinstance(row, dict):
            lines.append(
                f"- {narrow['model']} in {narrow['dtype']} with a {name}, under the bits of the "
                f"float32 engine: {row['equal_bits']:.2%} of greedy bits are equal; logits are off "
                f"by {row['logits_error']:.1%} of their spread, and the latent by "
                f"{row['latent_error']:.1%}.")
    return [*lines, ""]


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
