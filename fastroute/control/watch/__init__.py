"""Loops that poll servers and the DNS."""
