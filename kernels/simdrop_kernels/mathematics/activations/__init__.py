"""The activations: one file each, with NumPy functions for theory and scalars for the compiled kernels."""
