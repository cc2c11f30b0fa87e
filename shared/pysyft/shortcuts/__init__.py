"""The same results as PySyft gives, sooner."""
