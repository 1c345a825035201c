"""The servers as the supervisor knows them."""
