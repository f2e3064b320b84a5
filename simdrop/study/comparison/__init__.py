"""compare(): an ensemble against the flows that predict its mean."""
