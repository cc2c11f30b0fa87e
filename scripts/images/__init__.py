"""What makes the images smaller."""
