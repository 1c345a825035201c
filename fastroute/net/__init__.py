"""Connections to servers, for everything except the data plane."""
