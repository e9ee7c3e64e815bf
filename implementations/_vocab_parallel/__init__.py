"""Softmax whose classes are divided among ranks: the functions of one rank, and a team of ranks."""
