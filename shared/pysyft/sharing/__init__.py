"""PySyft's additive secret sharing between nodes, which meet at their coordinator alone."""

from shared.pysyft.sharing.holders import fetch_all, parts_of, run_with, send, shared_of, split
from shared.pysyft.sharing.products import multiply

__all__ = ["fetch_all", "multiply", "parts_of", "run_with", "send", "shared_of", "split"]
