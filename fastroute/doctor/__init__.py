"""What is right and wrong with servers as they are: `fastroute doctor` and `check-config`."""
