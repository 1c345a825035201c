"""The full-screen monitor: polls a fastroute, draws it on the terminal, obeys keys."""
