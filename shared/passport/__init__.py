"""What is signed about a model: its passport, a node's countersignature, that an owner is out."""
