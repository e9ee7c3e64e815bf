"""A run's units on the workers of a Dask scheduler, on this machine or on many.

For what judges and does not time. `crew` is the coordinator's end: which workers may take part,
what each is given, and what becomes of it when one is lost. `desk` is what runs in each of them:
it makes the same plan, and measures a unit or a share of one. `campaign` is what goes between.
"""
