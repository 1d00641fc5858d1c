"""Trains and validates the judge; the judge itself is toprovar.evaluation.compositional."""
