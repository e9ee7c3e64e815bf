"""Papers about softmax whose results are made again: each a set of claims with its examination."""
