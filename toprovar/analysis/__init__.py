"""Runs that measure: analyse prompts, calibrate a model. They drive the pipeline."""

from .calibrate import calibrate, runs_needed
from .measure import Analysis, analyze
from .shortcut_fit import fit_shortcuts

__all__ = ["Analysis", "analyze", "calibrate", "fit_shortcuts", "runs_needed"]
