"""The tables of a policy: each rule with its default and its explanation, and no more."""
