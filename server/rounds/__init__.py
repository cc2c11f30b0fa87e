"""One round after another: choose a cohort, send, have it train, get, aggregate, measure."""
