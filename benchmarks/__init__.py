"""Measurements. Every speed named in the README or the docs comes from a command here."""
