"""The built-in implementations of softmax: one module each, named by its file.

Modules whose name starts with an underscore are shared by the others and are no implementations.
"""
