"""Pointer mode at the node: the operations that a coordinator runs on an owner's rows."""
