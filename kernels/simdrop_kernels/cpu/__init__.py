"""Backend "numba": kernels that Numba compiles for this processor, parallel over members."""
