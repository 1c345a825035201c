"""`fastroute demo`: stand-in servers, clients of theirs, and a server that dies and comes back."""
