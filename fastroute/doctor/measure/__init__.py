"""Measurements of one server."""
