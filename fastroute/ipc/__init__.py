"""Shared by the supervisor and its workers."""
