"""The charts in deploy/helm: rendered, checked, and their pods as containers of a Docker engine."""
