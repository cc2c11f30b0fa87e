"""What both sides of pointer mode know: commands, frames, operations, parameters under way."""
