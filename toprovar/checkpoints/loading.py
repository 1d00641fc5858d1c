"""One model is loaded at a time."""

from __future__ import annotations

import threading

LOADING = threading.RLock()
"""Held while libraries load, and while models of our own get their weights: transformers and
diffusers change the whole process meanwhile (new parameters of any module go to the meta device,
initialisers do nothing, the default dtype is another)."""
