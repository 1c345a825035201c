"""Loops that ask servers and the DNS."""
