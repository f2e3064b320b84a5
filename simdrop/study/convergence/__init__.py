"""order() and heat_map(): how the error of each theory falls with the learning rate."""
