"""A data owner's side: a node that holds its owner's messages and trains on them."""
