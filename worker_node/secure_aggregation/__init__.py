"""The owner's side of secure aggregation: what is checked before anything is shared or opened."""
