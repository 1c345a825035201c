"""Judgements: pure functions from measurements to findings."""
