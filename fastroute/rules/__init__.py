"""Decisions: pure functions over small values. No I/O, no clock, no dice, no logging."""
