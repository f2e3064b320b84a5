"""The kernels of backend "cuda"; nothing here loads Numba before `cuda` asks for it."""
