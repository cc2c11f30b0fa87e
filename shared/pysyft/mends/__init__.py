"""What PySyft does wrong on a torch of today, put right one subject a file."""
