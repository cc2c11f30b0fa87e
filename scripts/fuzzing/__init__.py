"""Frames of a coordinator, mutated."""
