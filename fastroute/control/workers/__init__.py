"""Worker processes: their start, and the resources they inherit."""
