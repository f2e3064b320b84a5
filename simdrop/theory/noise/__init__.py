"""The noise of a training step: its covariance as an exact linear map, for dropout and all other sources."""
