"""The supervisor's state of the servers."""
