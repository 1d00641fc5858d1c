"""Runs that measure: analyse prompts, calibrate a model. They drive the pipeline."""

from .calibrate import Calibrator, Progress, Result, calibrate, fitting_jobs
from .measure import Analysis, analyze
from .shortcut_fit import fit_shortcuts
from .shortcut_use import with_used

__all__ = ["Analysis", "Calibrator", "Progress", "Result", "analyze", "calibrate",
           "fit_shortcuts", "fitting_jobs", "with_used"]
