"""A stand-in for a vLLM server: the same HTTP, metrics and habits, with made-up words."""
