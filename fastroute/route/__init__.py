"""`fastroute route`: the server that a request would get now, with the reason."""
