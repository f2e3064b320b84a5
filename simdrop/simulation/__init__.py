"""simulate() and sme(): ensembles, from their settings to the recorded result."""
