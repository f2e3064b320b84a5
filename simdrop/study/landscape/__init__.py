"""Properties of single parameters and of trajectories: flatness, alignment of noise and curvature, condensation."""
