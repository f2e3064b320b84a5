"""The activations: values and derivatives for NumPy and, as scalars, for the compiled kernels."""
