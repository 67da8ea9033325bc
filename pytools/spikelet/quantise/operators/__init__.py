"""One operator of a float network a file: its meaning, its twin in PyTorch, what becomes of it."""
