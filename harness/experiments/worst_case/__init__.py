"""Worst cases: a search for the input of the largest error ÷ bound, and the corpus of them.

What is found is a lower bound on the worst there is, and says so.
"""
