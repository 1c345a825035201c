"""The parts of the side-by-side comparison: load, stand-in servers, peers, accounting, report."""
