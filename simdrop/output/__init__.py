"""What commands and functions leave on disk."""
