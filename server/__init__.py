"""The coordinator: has a model trained at the nodes of data owners, and gets it back."""
