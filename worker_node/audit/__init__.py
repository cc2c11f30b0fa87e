"""The owner's log of all that was asked of the node: written, read and verified."""

AUDIT_LOG = "audit.jsonl"
"""The newest file of a log, in the identity folder; older ones have a number after the name."""
