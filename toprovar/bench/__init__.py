"""A short benchmark of a user's own machine: what ``toprovar bench`` measures and writes."""
