"""What ``toprovar analyze`` prints: measured entropies, and calibrations, as tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..printable import printable

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..entropy.calibration import Calibration


def show_analysis(found: Analysis) -> None:
    """Entropies of scales and layers."""
    trace, summary = found.trace, found.summary
    print(f"{trace.images} pictures, {found.seconds:.1f} s; mean and, in brackets, standard "
          "deviation over pictures\n")
    print("scale  tokens   entropy          H/log(keys)      rho              spread  follows")
    for scale, row in summary.scales.items():
        print(f"{scale:5d}  {row.grid[0] * row.grid[1]:6d}   {_spread(row.entropy)}  "
              f"{_spread(row.relative)}  {_spread(row.rho)}  "
              f"{_plain(row.spread and row.spread.mean)}  "
              f"{_plain(row.follows and row.follows.mean)}")
    print(f"\nrho is {'' if summary.rho.informative else 'not '}informative here: "
          f"{summary.rho.reason}")
    origin = "the model's calibration" if found.calibrated else "fitted to these pictures"
    print(f"\nlayers at scale {summary.representative} ({origin}); order between pictures: "
          f"Spearman {_plain(summary.order_stability).strip()}\n")
    print("layer  sigma1/sigma2 (sd of ln)  score  class      same map in all pictures")
    for i, layer in enumerate(summary.layers):
        ratio = summary.fit.principal_ratios[i]
        print(f"{layer:5d}  {ratio.mean:13.1f} ({ratio.sd:8.3f})  "
              f"{summary.fit.layer_scores[i]:5.2f}  {summary.fit.layer_classes[i]:9s}  "
              f"{_plain(summary.map_stability[i])}")


def show_calibration(found: Calibration) -> None:
    """What a calibration found, size by size."""
    print(f"{printable(found.name or found.model)}: {found.prompts} prompts, {found.seeds} seeds")
    for pn, entry in found.entries.items():
        print(f"\n{pn}: pruned from scale {entry.start_scale} on: {entry.start_reason}")
        print("scale  tokens  rho              SSIM, not run    SSIM, pruned")
        for scale, row in enumerate(entry.scales):
            print(f"{scale:5d}  {row.grid[0] * row.grid[1]:6d}  {_spread(row.rho)}  "
                  f"{_spread(row.exit_ssim)}  {_spread(row.pruned_ssim)}")
        print(f"layers at scale {entry.representative_scale} (order between pictures: Spearman "
              f"{_plain(entry.order_stability).strip()}), beta {entry.beta:.3f}:")
        print("  " + "  ".join(f"{i}:{kind[0].upper() if kind != 'ambiguous' else '?'} {score:.2f}"
                               for i, (score, kind) in enumerate(
                                   zip(entry.layer_scores, entry.layer_classes, strict=True))))
    accuracy = "(nearly) every scale tried kept the target, or none did: nothing to fit"
    if found.rho_accuracy is not None:
        accuracy = (f"balanced accuracy {found.rho_accuracy:.2f}, of a fixed scale "
                    f"{found.scale_accuracy:.2f}")
    print(f"\ntau {found.tau:.2f}, {found.crossing}: {accuracy}")
    print(f"rho is {'' if found.rho_informative else 'not '}informative: {found.rho_reason}")


def _spread(value: Any) -> str:
    return f"{value.mean:6.3f} ({value.sd:6.3f})" if value else "              -"


def _plain(value: float | None) -> str:
    return f"{value:6.3f}" if value is not None and math.isfinite(value) else "     -"
