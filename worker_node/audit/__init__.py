"""The owner's log of all that was asked of the node: written, read and verified."""
