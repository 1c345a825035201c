"""Tells of ended requests: the access log, and spans for OpenTelemetry. Runs in the supervisor."""
