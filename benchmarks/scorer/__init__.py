"""Pictures for the official scorers, and their scores back (docs/guide/scorers.md)."""
