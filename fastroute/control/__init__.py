"""The control plane: starts and drains workers, keeps the score table."""
