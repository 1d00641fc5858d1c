"""Run a recorded run again and compare everything that was recorded of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.autoencoder import to_uint8
from ..ops.bit_sampling import exponential_noise
from ..sampling.bits import chooser
from ..sampling.params import SamplingParams
from ..sampling.run import LayerProbe, SamplingRun, ScaleState
from ..schedules import ScaleSchedule, find_schedule, get_schedule
from ..sparsity.plan import SparsityPlan
from ..sparsity.planner import Planner
from .check import Check, Recorder, compare, compare_best
from .family import Family, RunFolder
from .kept import KeptRecorder
from .methods import DENSE
from .mixed import MIXED, MixedRecorder
from .source import SourceRecorder, codes_crop

HANDLED_ELSEWHERE = ("bits.", "packed_bits.", "forced_bits.", "packed_forced_bits.",
                     "logits_tokens.", "fresh_tokens.")


def run_params(run: RunFolder) -> SamplingParams:
    """The sampling parameters of run.json."""
    settings = run.settings
    schedule = find_schedule(settings["scale_schedule"])
    if "pn" in settings and "h_div_w" in settings:
        named = get_schedule(float(settings["h_div_w"]), settings["pn"])
        if named.grids == schedule.grids:
            schedule = named
    return SamplingParams(
        schedule, tuple(settings["cfg_list"]), tuple(settings["tau_list"]),
        tuple(settings["cfg_insertion_layer"]), settings["top_k"], settings["top_p"],
        "sample" if settings["mode"] == "sample" else "greedy",
    )


def plan_for(family: Family, run: RunFolder, schedule: ScaleSchedule) -> Planner | None:
    """What a recorded run left out; None = dense."""
    if run.method == DENSE:
        return None
    if run.recordings is None:
        raise ValueError(f"{run.path}: runs of {run.method} are not supported yet")
    return run.recordings.plan(run.settings, family.transformer.shape, schedule,
                               lambda: family.vae)


def check_run(family: Family, run: RunFolder, probe: LayerProbe | None = None) -> list[Check]:
    """Every comparison that the run's goldens allow."""
    params, prefix = run_params(run), f"runs/{run.name}"
    text, negative = family.inputs(run)
    golden, generator = family.bits(run), None
    if params.mode == "sample":
        generator = torch.Generator("cpu").manual_seed(run.settings["g_seed"])
    choose = chooser(params, generator)
    recorder, times, source = None, None, _source(family, run, params)
    if source is not None:  # a temperature of 0.1 makes logits, and differences, ten times larger
        times = [max(1.0, 1 / tau) for tau in params.tau_list]
    if golden is not None:
        forced = run.settings["mode"] == "forced"
        recorder = Recorder(None if forced else choose, golden, prefix, times)
    elif run.settings["mode"] == "forced":
        raise ValueError(f"{run.path}: mode is 'forced', but no bits are recorded")
    plan = plan_for(family, run, params.schedule)
    kept = KeptRecorder(plan) if isinstance(plan, SparsityPlan) else None
    mixes = isinstance(plan, SparsityPlan) and any(step.special for step in plan.scales)
    mixed = MixedRecorder(run.noise) if mixes else None
    sampling = SamplingRun(
        family.transformer, text, params, negative=negative, choose=recorder or choose,
        probe=probe or source or mixed, plan=plan, selector=kept, draws=mixed,
        source=None if source is None else source.features,
    )
    checks: list[Check] = []
    compared: set[str] = set()
    ran = []
    for state in sampling:
        ran.append(state.index)
        loosened = 1.0 if times is None else times[state.index]
        for key, check in _scale_checks(prefix, run.expected, state, loosened).items():
            compared.add(key)
            checks.append(check)
        decided = run.noise.get(f"kept_only_one_frac.{state.index}")
        if decided is not None:
            checks.append(compare(f"{prefix} kept_only_one_frac.{state.index}", "share",
                                  _decided_by_top_p(state.logits, params.top_p), decided))
    if recorder is not None:
        checks += recorder.checks
    if run.noise and params.mode == "sample":
        checks += _noise_checks(prefix, run)
    wanted = [k for k in run.expected
              if k not in compared and not k.startswith(HANDLED_ELSEWHERE)]
    executed = run.settings.get("executed_scales")
    if executed is not None:
        checks.append(Check(f"{prefix} executed_scales", 0.0 if ran == executed else math.inf, 0.0))
    if mixed is not None:
        checks += mixed.counts(prefix, run.settings, sampling.runner.cache.lengths)
    values = run.recordings.values if run.recordings else None
    results = Results(family, sampling.summed_codes,
                      values(sampling.plan_state.plan) if values else {})
    if source is not None:
        checks += source.settings(prefix)
        wanted = [key for key in wanted if not key.startswith(("src_tokens", "ref_tokens"))]
    for key in wanted:
        if source is not None:
            found = source.check(prefix, key, results.image)
            if key == "summed_codes_crop8":
                found = codes_crop(f"{prefix} {key}", results.codes, run.expected[key])
            if found is not None:
                checks.append(found)
                continue
        if kept is not None and key.startswith("kept"):
            checks.append(kept.check(prefix, key, run.expected[key]))
            continue
        if mixed is not None and key.startswith(MIXED):
            checks.append(mixed.check(prefix, key, run.expected))
            continue
        check = results.check(prefix, key, run.expected[key])
        checks.append(check or Check(f"{prefix} {key}", math.nan, 0.0,
                                     "unknown golden, nothing to compare it with"))
    return checks


def _source(family: Family, run: RunFolder, params: SamplingParams) -> SourceRecorder | None:
    """The picture that a run edits, if it does."""
    picture = family.picture(run)
    if picture is None:
        return None
    return SourceRecorder(family, run, picture, params.schedule.image_size)


def _scale_checks(prefix: str, expected: dict[str, Tensor], state: ScaleState, times: float
                  ) -> dict[str, Check]:
    """Checks of one scale's logits, by golden key; ``times`` as in ``compare``."""
    i, logits = state.index, state.logits
    flat, pairs = logits.flatten(), logits.unflatten(-1, (-1, 2))
    values = {
        "logits": lambda: logits,
        "logits_rows": lambda: logits[:, expected[f"logits_tokens.{i}"].to(logits.device)],
        "fresh_rows": lambda: logits[:, expected[f"fresh_tokens.{i}"].to(logits.device)],
        "logits_head64": lambda: flat[:64],
        "logits_tail64": lambda: flat[-64:],
        "logits_mean_std": lambda: _mean_std(logits),
        "min_margin": lambda: (pairs[..., 1] - pairs[..., 0]).abs().min()[None],
    }
    return {
        f"{name}.{i}": compare(f"{prefix} {name}.{i}", "logits", value(), expected[f"{name}.{i}"],
                                times=times)
        for name, value in values.items() if f"{name}.{i}" in expected
    }


def _decided_by_top_p(logits: Tensor, top_p: float) -> Tensor:
    """Share of bits whose minor class top-p removes: [1]."""
    minor = logits.unflatten(-1, (-1, 2)).softmax(-1).amin(-1)
    return (minor <= 1 - top_p).float().mean()[None]


def _noise_checks(prefix: str, run: RunFolder) -> list[Check]:
    """The recorded draws must be those of the generator, in its order."""
    generator = torch.Generator("cpu").manual_seed(run.settings["g_seed"])
    checks = []
    for i in range(len(run.settings["scale_schedule"])):
        golden = run.noise.get(f"exp_noise.{i}")
        if golden is None:
            break
        drawn = exponential_noise(torch.empty(golden.shape), generator)
        checks.append(compare(f"{prefix} exp_noise.{i}", "noise", drawn, golden))
    return checks


class Results:
    """What a finished run is compared by: codes, picture (decoded when first asked for) and
    numbers of its method (``Recordings.values``)."""

    def __init__(self, family: Family, codes: Tensor, values: Mapping[str, Sequence[float]]
                 ) -> None:
        self.family, self.codes, self.values = family, codes, values
        self._image: Tensor | None = None

    @property
    def image(self) -> Tensor:
        """[B, 3, H, W] float32."""
        if self._image is None:
            with torch.inference_mode():
                self._image = self.family.vae.decode(self.codes)
        return self._image

    def bgr(self) -> Tensor:
        """[B, H, W, 3] uint8 as the official scripts save it."""
        return to_uint8(self.image).flip(-1)

    def check(self, prefix: str, key: str, golden: Tensor) -> Check | None:
        """Comparison with one golden tensor; None if the key is unknown."""
        name = f"{prefix} {key}"
        match key:
            case "summed_codes":
                return compare(name, "codes", self.codes, golden)
            case "summed_codes_area16":
                return compare(name, "codes", F.adaptive_avg_pool2d(self.codes, 16), golden)
            case "summed_codes_mean_std":
                return compare(name, "codes", _mean_std(self.codes), golden)
            case "summed_codes_crop8":
                return compare_best(name, "codes", _crops(self.codes, 8, [(28, 28)]), golden)
            case "image_float":
                return compare(name, "image", self.image, golden)
            case "image_float_area64":
                return compare(name, "image", F.adaptive_avg_pool2d(self.image, 64), golden)
            case "image_mean_std":
                return compare(name, "image", _mean_std(self.image), golden)
            case "image_float_crop64":
                return compare_best(name, "image", _crops(self.image, 64, PLACES), golden)
            case "image_uint8_bgr":
                return compare(name, "level", self.bgr(), golden)
            case "image_uint8_bgr_every4":
                return compare(name, "level", self.bgr()[:, ::4, ::4], golden)
            case "image_uint8_bgr_crop64":
                crops = _crops(self.bgr().permute(0, 3, 1, 2), 64, PLACES)
                crops = {place: crop.permute(0, 2, 3, 1) for place, crop in crops.items()}
                return compare_best(name, "level", crops, golden)
            case "image_shape":
                return compare(name, "exact", torch.tensor(self.bgr().shape), golden)
            case _ if key in self.values:
                own = torch.tensor(self.values[key], dtype=torch.float64)
                return compare(name, "feature", own, golden)
        return None


PLACES = [(280, 160), (480, 480)]


def _crops(x: Tensor, size: int, places: list[tuple[int, int]]) -> dict[str, Tensor]:
    """[..., H, W] cut at the documented places that fit, and at the centre."""
    height, width = x.shape[-2:]
    places = [*places, ((height - size) // 2, (width - size) // 2)]
    return {
        f"rows {top}.., columns {left}..": x[..., top : top + size, left : left + size]
        for top, left in places
        if 0 <= top <= height - size and 0 <= left <= width - size
    } or {"whole": x}


def _mean_std(x: Tensor) -> Tensor:
    x = x.cpu().double()
    return torch.stack([x.mean(), x.std()])
