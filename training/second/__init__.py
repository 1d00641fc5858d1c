"""Training of the second network in whose features pictures are compared."""
