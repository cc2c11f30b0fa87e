"""The federation's own CA: whom it has certified, and whom it has taken back."""
