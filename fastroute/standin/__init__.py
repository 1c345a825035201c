"""A stand-in for a vLLM server: the same HTTP, metrics and behaviour, with made-up text."""
