"""The owner's privacy budget: what was told with noise, kept for ever, and what may still be."""
