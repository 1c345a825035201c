"""Worker processes: how they start, and what they inherit."""
