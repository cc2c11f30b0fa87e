"""Running PySyft's own tests on this stack."""
