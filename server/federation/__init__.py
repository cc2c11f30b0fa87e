"""The coordinator for scripts and notebooks; the command line stands on it."""
