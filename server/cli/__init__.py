"""The commands of `python -m server`: from what a user typed to a call of the room that does it."""
