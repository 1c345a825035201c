"""Records of ended requests: access log and OpenTelemetry spans. Runs in the supervisor."""
