"""The /load-stats contract and its readers."""
