"""PySyft's additive secret sharing between nodes, which meet at their coordinator alone."""
