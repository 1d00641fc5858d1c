"""Comparison with recorded results of the official code (``toprovar conformance``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .check import Check
from .extras import check_rope_grid, check_schedules, check_vae_roundtrip, probes
from .family import Family, runs_beside
from .methods import DENSE, guests
from .runs import check_run


@dataclass(frozen=True)
class ConformanceReport:
    """Every comparison, and what could not be compared.

    Attributes:
        unsupported: runs of methods that are not built yet, with the reason.
    """

    checks: tuple[Check, ...]
    unsupported: tuple[str, ...]

    @property
    def misses(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if not c.passed)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not self.misses

    def summary(self) -> str:
        """One line."""
        verdict = "PASS" if self.passed else "FAIL"
        line = f"{verdict}: {len(self.checks) - len(self.misses)} of {len(self.checks)} within " \
               "limits"
        if self.misses:
            line += f", {len(self.misses)} missed (first: {self.misses[0].name})"
        if self.unsupported:
            line += f", {len(self.unsupported)} runs not supported yet"
        return line

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "summary": self.summary(),
            "checks": [{"name": c.name, "difference": str(c.difference)
                        if c.difference != c.difference or c.difference == float("inf")
                        else c.difference, "limit": c.limit, "passed": c.passed,
                        "note": c.note} for c in self.checks],
            "unsupported": list(self.unsupported),
        }


def check_folder(
    folder: Path, device: torch.device | str = "cpu",
    on_check: Callable[[Check], None] | None = None,
) -> ConformanceReport:
    """Compare everything below a fixture folder: one family, or several with their tables.

    Args:
        folder: a family (it has a config.json), or a folder of families.
        on_check: told of each comparison as it is made.
    """
    device, hosts = torch.device(device), guests()
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    checks: list[Check] = []
    unsupported: list[str] = []

    def add(found: list[Check], prefix: str = "") -> None:
        for check in found:
            check = Check(prefix + check.name, check.difference, check.limit, check.note)
            checks.append(check)
            if on_check:
                on_check(check)

    if (folder / "config.json").exists() or folder.name in hosts:
        families = [folder]
    else:
        families = sorted(p.parent for p in folder.glob("*/config.json"))
        for file, check_file in (("schedules.json", check_schedules),
                                 ("rope_grid.safetensors", check_rope_grid)):
            if (folder / file).exists():
                add(check_file(folder / file))
        families += [folder / name for name in hosts if (folder / name).is_dir()]
        if not families and not checks:
            raise ValueError(f"{folder} holds no fixtures: expected config.json, or folders that "
                             "have one")
    for path in families:
        prefix = "" if path == folder else f"{path.name}/"
        host = hosts.get(path.name) if not (path / "config.json").exists() else None
        family = Family(path.parent / host, device, path / "runs") if host else Family(path, device)
        inside = {} if host else probes(family)
        for run in family.runs():
            if run.method != DENSE and run.recordings is None:
                unsupported.append(f"{prefix}runs/{run.name}: {run.method} is not supported yet")
                continue
            add(check_run(family, run, inside.get(run.name)), prefix)
        for probe in inside.values():
            add(probe.checks + probe.missed(), prefix)
        if not host:
            add(check_vae_roundtrip(family), prefix)
        for run, weights in runs_beside(path):
            if not (weights / "config.json").exists():
                unsupported.append(f"{prefix}{run.name}: its weights, {weights.name}, are not "
                                   f"beside {path.name}")
                continue
            lent = Family(weights, device, path, edits=True)
            add(check_run(lent, lent.run(run)), prefix)
    return ConformanceReport(tuple(checks), tuple(unsupported))
