"""Which server a request would get now, and why: `fastroute route`."""
