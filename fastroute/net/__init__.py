"""Connections to servers, for all but the data plane."""
