"""Nodes, lines and demonstrations on this machine, without containers."""
