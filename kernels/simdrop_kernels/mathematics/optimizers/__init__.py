"""The optimizers besides SGD, one in each file, and the table of all."""
