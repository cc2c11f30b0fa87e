"""What is held of the owner's page."""
