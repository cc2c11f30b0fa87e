"""A node inside a program of the owner's: its child process, and the handle on it."""
