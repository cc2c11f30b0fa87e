"""Trackers: a run's figures, settings and model for TensorBoard and MLflow."""
