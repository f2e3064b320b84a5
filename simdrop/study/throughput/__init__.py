"""benchmark(): how fast each backend is on this machine."""
