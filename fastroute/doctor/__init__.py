"""Diagnosis of servers: `fastroute doctor` and `fastroute check-config`."""
