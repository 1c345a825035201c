"""The full-screen monitor: polls a router, draws it on the terminal, handles keys."""
