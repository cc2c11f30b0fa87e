"""What the owner allows: the policy, what was used of it today, and the pace of requests."""
