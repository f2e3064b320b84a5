"""Flows of the parameters, of paths and of moments, integrated by SciPy."""
