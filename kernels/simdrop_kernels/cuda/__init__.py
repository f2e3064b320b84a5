"""Backend "cuda": kernels for NVIDIA devices, or for Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""
