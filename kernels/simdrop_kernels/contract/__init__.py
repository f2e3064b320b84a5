"""What callers and kernels agree on: a training step, a stochastic equation, and how parameters lie in theta."""
