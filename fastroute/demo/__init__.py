"""`fastroute demo`: stand-in servers, one killed repeatedly, and simulated clients."""
