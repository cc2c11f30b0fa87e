"""What a malicious coordinator reads of an owner's messages from the model that comes back."""
