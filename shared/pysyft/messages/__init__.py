"""PySyft's messages as bytes, without pickles, and within bounds."""
