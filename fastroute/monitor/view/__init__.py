"""Text of the terminal monitor."""
