"""Reaching a node: its address, the connection that stands, and what to do when it breaks."""
