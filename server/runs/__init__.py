"""A run from its start to its end: its settings, its folder, and going on where one stopped."""
