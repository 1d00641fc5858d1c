"""The scale loop: one run from text features to summed codes.

A ``SamplingRun`` owns everything that changes while it samples; the transformer it borrows is
never written to, so several runs may share one. Iterating over it runs scale after scale; stop
iterating and the run is over.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ..devices import least_saving
from ..models.fingerprint import model_fingerprint
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops import attention as attention_ops
from ..ops.bit_sampling import Generators
from ..sparsity.mixing_draws import Draws, SeededDraws
from ..sparsity.plan import SparsityPlan, dense_plan
from ..sparsity.planner import Planner, RunContext, begin
from ..sparsity.selection import Selector
from .bits import BitChooser, Sampler, chooser
from .caches import first_cache, relaid_cache
from .compile_ahead import compile_ahead
from .forward import Guidance, ScaleForward
from .fused_runner import FusedRunner
from .head import add_codes_, apply_cfg, check_latents, guidance_distance, tokens_at
from .held import Held
from .memory import EntropyListener
from .observers import LayerProbe, ScaleState
from .params import EngineOptions, SamplingParams
from .report import RunReport, ScaleReport, SourceReport, recording_notes
from .setup import all_rows, borrow_workspace, make_runner, shortcuts_for
from .source import SourcePass, checked_source, rotations_of, source_tokens
from .source_cache import SourceCache
from .sparse import SparseBlocks
from .timing import Clock
from .workspace import give_back


class SamplingRun:
    """One sampling run: from text features to the summed codes of B pictures.

    Iterate over it to run scale after scale; each step gives a ``ScaleState``. Stop iterating to
    end the run early. The run owns everything that changes while it samples: KV cache, random
    numbers, entropy maps and report. ``summed_codes`` [B, latent channels, H, W] float32 is what
    has been drawn so far; the autoencoder decodes it.

    Args:
        transformer: the model. The run only reads it, so several runs may share one.
        text: the text features of the B prompts.
        params: what to sample.
        negative: text features in place of the learned empty text, one for all prompts or one for
            each.
        source: for a VAREdit model: the encoder's features of the picture to edit, [1 or B, latent
            channels, H, W] at the size of the schedule.
        plan: which work is left out: a ``SparsityPlan``, or a planner that decides inside the run.
            None = nothing is left out.
        generators: one random generator for all images in turn, as in the official code, or one for
            each image. None = torch's own.
        options: how the run computes.
        choose: a function that chooses the bits, in place of the sampler that ``params`` describe.
        check: a function that is called before every layer. An exception that it raises ends the
            run.
        probe: an object that looks into every block, without changing it.
        watch: an object that gets the entropies of the attention, such as a ``TraceRecorder``.
        selector: an object that chooses tokens in place of the plan's rules.
        slower: a function that tells from earlier runs whether a plan is slower than a dense run on
            this device; see ``RunContext``.
        draws: the random numbers of scales that work on mixtures of tokens. None = from the seeds
            of ``generators``.
        held: what is kept of another picture, for edits.
        near: for edits: by scale, [B, N] float32, the distance in tokens of each token from the
            part that is drawn, 0 inside of it.
        away: for edits: the text features of descriptions to steer away from, one for each prompt.

    Raises:
        ValueError: the schedule has more scales than the model knows, or the plan does not fit
            model and schedule.
    """

    runs_again: ClassVar[bool] = False
    """Whether scales may be run again, so that none may overwrite the keys of an earlier one."""

    def __init__(
        self,
        transformer: InfinityTransformer,
        text: PackedText,
        params: SamplingParams,
        *,
        negative: PackedText | None = None,
        source: Tensor | None = None,
        plan: Planner | None = None,
        generators: Generators = None,
        options: EngineOptions | None = None,
        choose: BitChooser | None = None,
        check: Callable[[], None] | None = None,
        probe: LayerProbe | None = None,
        watch: EntropyListener | None = None,
        selector: Selector | None = None,
        slower: Callable[[SparsityPlan], tuple[float, float] | None] | None = None,
        draws: Draws | None = None,
        held: Held | None = None,
        near: Mapping[int, Tensor] | None = None,
        away: PackedText | None = None,
    ) -> None:
        self.transformer, self.held, self._near = transformer, held, dict(near or {})
        self.params = params
        self.options = options or EngineOptions()
        self.choose = choose or chooser(params, generators)
        self.check = check or (lambda: None)
        self.probe = probe
        self.device = transformer.null_text.device
        shape, schedule = transformer.shape, params.schedule
        if len(schedule) > shape.num_levels:
            raise ValueError(
                f"the schedule has {len(schedule)} scales, the model knows {shape.num_levels}"
            )
        self.mixing_layers = params.mixing_layers(shape.depth)
        self.backend = attention_ops.choose(self.options.attention_backend, self.device)
        self.batch = len(text)
        picture = checked_source(shape, schedule, self.batch, source, self.device)
        text = text.to(self.device, torch.float32)
        if params.guided:
            text = PackedText.join(all_rows(transformer, text, negative, params, away))
        self.rows = len(text)
        plan = plan or dense_plan(shape, schedule)
        tagged = not isinstance(plan, SparsityPlan) or plan.model.fingerprint is not None
        self.plan_state, notes = begin(plan, RunContext(
            shape, schedule, self.batch, params.guided,
            model_fingerprint(transformer) if tagged else None, slower,
            least_saving(self.device),
        ))
        self.notes = (*notes, *self._missing_rows())
        self.clock = Clock(self.device)
        self.replayed = self.recorded = 0
        with torch.inference_mode():
            looked_into = probe is not None or selector is not None
            self.workspace = borrow_workspace(transformer, schedule, self.batch, text,
                                              self.options, looked_into,
                                              self.plan_state.plan.compiled,
                                              self.runs_again)
            if self.workspace is not None:
                self._leave = weakref.finalize(self, give_back, self.workspace)
            by_head = watch is not None and watch.heads
            with attention_ops.held_to(self.backend):
                self.runner = make_runner(transformer, text, self.batch, self.options, probe,
                                          by_head, self.workspace)
            draws = draws or SeededDraws(generators, self.batch, pinned=self.device.type == "cuda")
            self._set_blocks(watch, selector, draws)
            own = self.workspace
            turns, self.rotations = (own.source_rotation, own.rotations) if own is not None \
                else rotations_of(shape, schedule, self.device)
            self._source = None
            if picture is not None and turns is not None:
                self._source = SourcePass(picture, turns, len(schedule) - 1,
                                          self.options.residual_dtype,
                                          None if own is None else own.source)
            self._laid_out = -1
            self._lay_out(0)
            if isinstance(self.runner, FusedRunner):
                compile_ahead(self.runner, self.plan_state.plan, self.rows,
                              self.options.residual_dtype)
            height, width = schedule.grids[-1]
            self.summed_codes = torch.zeros(
                self.batch, shape.latent_channels, height * shape.patch, width * shape.patch,
                device=self.device,
            )
        self.scale_reports: list[ScaleReport] = []
        self.source_report: SourceReport | None = None

    def _set_blocks(self, watch: EntropyListener | None = None, selector: Selector | None = None,
                    draws: Draws | None = None) -> None:
        """The blocks that follow the plan as it stands, and remember nothing yet."""
        own = self.workspace
        self.blocks = SparseBlocks(
            self.runner, self.plan_state, watch, selector,
            None if own is None else own.place, None if own is None else own.constants,
            shortcuts_for(self.transformer, self.plan_state.plan, self.mixing_layers, own), draws,
        )
        near = {scale: one.to(self.device, torch.float32) for scale, one in self._near.items()}
        self.blocks.selector.restrict(near if own is None else {
            scale: own.place(("near", scale), one, torch.float32).copy_(one)
            for scale, one in near.items()})
        self.forward = ScaleForward(self.transformer, self.blocks, self.batch, self.probe,
                                    self.check if own is None else None)

    def __iter__(self) -> Iterator[ScaleState]:
        """Run the scales in turn. Scales that the plan leaves out give no state."""
        try:
            self.read_source()
            for scale in range(len(self.params.schedule)):
                if not self.plan_state.plan.scales[scale].run:
                    self._skip(scale)
                    continue
                # Not held across the yield: the caller's code must not run in inference mode.
                with torch.inference_mode(), attention_ops.held_to(self.backend):
                    state = self._run_scale(scale)
                yield state
        finally:
            if self.workspace is not None:
                self._leave()

    def read_source(self) -> None:
        """Pass the tokens of the source picture through the blocks, so that the KV cache holds
        their keys and values. Iterating does this before the first scale; it is done once, and does
        nothing without a source."""
        if self._source is None or self.source_report is not None:
            return
        with torch.inference_mode(), attention_ops.held_to(self.backend):
            self.source_report = self._source(self.forward, self._rows(0), self.clock,
                                              self._computed)

    def continue_from(self, codes: Tensor) -> None:
        """Go on from other summed codes than the run's own. Call it between two scales.

        Args:
            codes: [B, latent channels, H, W], the shape of ``summed_codes``, of any dtype and on
                any device.

        Raises:
            ValueError: the codes have another shape, or values that are not finite.
        """
        check_latents(codes, self.summed_codes.shape)
        with torch.inference_mode():
            self.summed_codes.copy_(codes)
            if self.workspace is not None:
                self.workspace.codes.copy_(self.summed_codes)

    def report(self, wait: bool = True) -> RunReport:
        """The report of the scales that have been run so far.

        Args:
            wait: True = wait for the device, so that the report has the times of the scales. False
                = do not wait; ``clock.timed`` adds the times later.
        """
        plan = self.plan_state.plan
        report = RunReport(
            plan=plan.strategy,
            params=self.params.to_json(),
            scales=tuple(self.scale_reports),
            images=self.batch,
            rows=self.rows,
            device=str(self.device),
            dtype=str(self.transformer.compute_dtype).removeprefix("torch."),
            cache_dtype=str(self.runner.dtype).removeprefix("torch."),
            attention_backend=self.backend,
            kv_bytes=self.runner.cache.nbytes,
            source=self.source_report,
            seconds={"scales": sum(s.seconds for s in self.scale_reports)
                     + (self.source_report.seconds if self.source_report else 0.0)},
            notes=(*self.notes, *plan.notes, *recording_notes(self.recorded)),
            used_plan=plan,
            replayed_scales=self.replayed,
            recorded_scales=self.recorded,
        )
        return self.clock.timed(report) if wait else report

    def _missing_rows(self) -> tuple[str, ...]:
        if self.rows > self.batch or all(s.conditional for s in self.plan_state.plan.scales):
            return ()
        return ("guidance is off, so there is no unconditional row: scales that the plan runs on "
                "it alone run on the conditional one",)

    def _lay_out(self, scale: int) -> None:
        """Make room in the KV cache for ``scale`` and all that is certain to follow."""
        if self.workspace is not None or scale <= self._laid_out:
            return
        plan, schedule = self.plan_state.plan, self.params.schedule
        horizon = self._laid_out = self.plan_state.horizon(scale)
        source = source_tokens(self.transformer.shape, schedule)
        if scale == 0:
            self.runner.cache = first_cache(self.transformer, plan, horizon, schedule, source,
                                            self.options, self._rows(0), self.runner.dtype,
                                            self.runs_again)
        elif not self.options.hosted_layers:
            self.runner.cache = relaid_cache(self.runner.cache, plan, horizon, source,
                                             self._rows(scale))

    def _rows(self, scale: int) -> range:
        """Rows that a scale runs: all, the conditional ones, or the unconditional ones."""
        step = self.plan_state.plan.scales[scale]
        if self.rows == self.batch:
            return range(self.batch)
        if not step.conditional:
            return range(self.batch, 2 * self.batch)
        return range(self.rows if step.unconditional else self.batch)

    def _skip(self, scale: int) -> None:
        """Leave a scale out, with its random draws taken."""
        grid, depth = self.params.schedule.grids[scale], self.transformer.shape.depth
        if isinstance(self.choose, Sampler) and scale < self.plan_state.plan.compiled.last_run:
            bits = self.transformer.shape.bits_per_token
            self.choose.skip(scale, (self.batch, grid[0] * grid[1], bits), self.device)
        if self.held is not None:
            with torch.inference_mode():
                self.held.restore(scale, self.summed_codes)
                if self.workspace is not None:
                    self.workspace.codes.copy_(self.summed_codes)
        self.scale_reports.append(ScaleReport(
            scale, grid, grid[0] * grid[1], (0,) * depth, self.params.cfg_list[scale],
            self.params.tau_list[scale], 0.0, 0,
        ))

    def _run_scale(self, scale: int) -> ScaleState:
        self.clock.mark(scale)
        grid = self.params.schedule.grids[scale]
        cfg, tau = self.params.cfg_list[scale], self.params.tau_list[scale]
        self._lay_out(scale)
        if isinstance(self.runner.cache, SourceCache):
            self.runner.cache.scale_grid = grid
        self.runner.start_row(self._rows(scale).start)
        self.blocks.begin(scale, self._rows(scale), self.device)
        self.check()
        raw = self._logits(scale)
        if raw.shape[0] > self.batch and self.plan_state.wants_guidance(scale):
            self.plan_state.guidance(scale, guidance_distance(raw, tau, self.batch))
        logits = apply_cfg(raw, cfg, tau, self.batch, self.params.away)
        self.blocks.maps.deliver()
        self.check()
        bits = self.choose(scale, logits)
        before = self.summed_codes.clone() if self.plan_state.plan.compiled.by_change else None
        fed = None if self.held is None else self.held.fed(scale)
        add_codes_(self.summed_codes, bits, grid, self.transformer.shape.patch,
                   self.blocks.stayed, None if self.blocks.stayed is None else fed)
        if self.held is not None:
            self.held.restore(scale, self.summed_codes)
        if before is not None:
            self.blocks.codes_changed(before, self.summed_codes)
        if self.workspace is not None:
            self.workspace.codes.copy_(self.summed_codes)
        self.clock.mark(scale)
        report = ScaleReport(
            scale, grid, grid[0] * grid[1], self.plan_state.plan.counts[scale], cfg, tau,
            self.clock.seconds(scale) if self.device.type == "cpu" else 0.0,
            len(self._rows(scale)),
        )
        self.scale_reports.append(report)
        kept = self.blocks.kept_copies()
        self.plan_state.after(scale, self.summed_codes)
        return ScaleState(scale, len(self.params.schedule), grid, logits, bits, self.summed_codes,
                          report, kept, self._stayed(grid, fed))

    def _stayed(self, grid: tuple[int, int], fed: Tensor | None) -> Tensor | None:
        if self.blocks.stayed is None:
            return None
        stayed = tokens_at(self.blocks.stayed, self.batch, grid)
        return stayed if fed is None else stayed | fed

    def _logits(self, scale: int) -> Tensor:
        """Logits of the rows that count, computed or replayed: [R, N, 2 d] float32, before
        temperature and guidance. Not to be changed."""
        rows, cfg = self._rows(scale), self.params.cfg_list[scale]
        guided = cfg != 1 and len(rows) > self.batch
        guidance = Guidance(cfg, self.mixing_layers if guided else (),
                            (guided and 0 in self.params.cfg_insertion_layer)
                            or len(rows) > 2 * self.batch)
        step = self.plan_state.plan.compiled.scales[scale]

        def compute() -> Tensor:
            own = self.workspace
            x = self.forward.input(scale, len(rows), self.summed_codes if own is None
                                   else own.codes, self.options.residual_dtype)
            return self.forward(scale, step, x, self.rotations[scale], guidance)

        if self.workspace is None:
            return compute()
        key = (self.blocks.signature(scale), rows, guided, cfg if guidance.layers else None,
               self.params.cfg_insertion_layer if guided else (), guidance.on_logits)
        return self._computed(key, compute, self.plan_state.recurs)

    def _computed(self, key: Hashable, work: Callable[[], Tensor], at_once: bool) -> Tensor:
        """The result of ``work``, computed or replayed: see ``Workspace.run``."""
        own = self.workspace
        if own is None:
            return work()
        before = own.replays, own.records
        found = own.run(key, work, self.blocks, at_once=at_once)
        self.replayed += own.replays - before[0]
        self.recorded += own.records - before[1]
        return found
