"""Settings of commands and sweeps: defaults, TOML files and flags from one definition."""
