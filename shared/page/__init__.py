"""Pages for browsers of this machine alone: their HTML, how they are served, and parts of both."""
