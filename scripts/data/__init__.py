"""The SMS Spam Collection, cut into shards."""
