"""Training steps on a device."""
