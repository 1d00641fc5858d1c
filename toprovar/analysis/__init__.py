"""Runs that measure: analyse prompts, calibrate a model. They drive the pipeline."""

from .calibrate import calibrate, runs_needed
from .measure import Analysis, analyze
from .shortcut_fit import fit_shortcuts, fitting_runs
from .shortcut_use import with_used

__all__ = ["Analysis", "analyze", "calibrate", "fit_shortcuts", "fitting_runs", "runs_needed",
           "with_used"]
