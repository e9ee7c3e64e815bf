"""Judges every input of a whole domain, so that a maximum is the true one.

- ``pairs``: softmax([a, b]) for all finite a and b of float16 or bfloat16, against certified
  thresholds: the perfect oracle (`thresholds`).
- ``line``: softmax([t, 0]) for every float32 t.
- ``constant``: rows of equal logits, 1/n at every length to 2**16 and at many to 2**20.
- ``float8``: all triples of e4m3fn or e5m2.
- ``exp_order``: monotonicity of the exponential over its whole range.

Implementations run in worker processes; what comes back is judged here, in bounded memory, and
counted in a tally that survives interruption.
"""
