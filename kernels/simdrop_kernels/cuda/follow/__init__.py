"""Paths of stochastic equations on a device."""
