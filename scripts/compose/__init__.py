"""What Compose runs once before a federation: certificates, and folders with messages."""
