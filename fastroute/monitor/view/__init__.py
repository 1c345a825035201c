"""Rendering of the terminal monitor as text."""
