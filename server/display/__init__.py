"""What a run looks like to whoever reads it: words, lines, bars and tables."""
