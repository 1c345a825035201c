"""What the interleaved rounds do not show; one study a file, each with a `run` and its result."""
