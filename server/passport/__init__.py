"""What is known of a model: its passport, its card, and that an owner is out of it."""
