"""The owner's page: who asked for what, what left, and what the owner is asked, as it happens."""
