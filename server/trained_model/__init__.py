"""A model that a run left: on disk, and at work on messages."""
