"""Secure aggregation for both sides: messages, keys, shares, masks, and the numbers summed."""
