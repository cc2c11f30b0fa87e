"""A trained model: on disk, and at work on messages, at whoever's side."""
