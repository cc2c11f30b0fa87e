"""Local training in a process of its own, with plain torch."""
