"""Getting the real syft 0.2.5 to import on a Python and a torch of today."""
