"""Findings that follow from measurements."""
