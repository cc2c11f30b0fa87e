"""What both sides of a federation use."""
