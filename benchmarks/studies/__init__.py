"""Studies of aspects that the interleaved rounds do not cover; each has a `run` and a result."""
