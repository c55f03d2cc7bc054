"""A deterministic simulation."""
