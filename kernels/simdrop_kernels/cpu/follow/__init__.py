"""Paths of stochastic equations on the CPU."""
