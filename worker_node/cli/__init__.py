"""The commands of `python -m worker_node`, and what they print for the owner."""
