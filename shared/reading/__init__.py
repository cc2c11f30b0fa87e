"""Files that people have: their bytes, what is packed in them, their encoding, phones' backups."""
