"""Pure rendering of a score table snapshot."""
