"""The node as a member of a federation: how it joins, and whose certificate it lets in."""
