"""Expectations over all masks in closed form (gradients of R_S, R_S + R_1, R_S + R_1 + R_2)."""
