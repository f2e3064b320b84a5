"""Backend "numpy": the formulas as they read, batched over members. The oracle of the other backends."""
