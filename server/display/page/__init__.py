"""A run as one page: everything in one file, which opens offline and asks nobody for anything."""
