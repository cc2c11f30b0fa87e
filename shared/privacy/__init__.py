"""Differential privacy: what releases tell together, and what a noisy one holds."""
