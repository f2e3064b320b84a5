"""Checks of what users hand over: one rule for each kind of value."""
