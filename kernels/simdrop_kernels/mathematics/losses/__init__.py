"""The losses: each a formula, a residual of one sample, and what theory needs of it, in a file of its own."""
