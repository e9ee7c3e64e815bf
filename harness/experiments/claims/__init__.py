"""Published statements about softmax, recomputed from first principles.

The register holds the claims as data; an examination gives numbers; a rule turns numbers into a
verdict (`verdicts.decide`), and no verdict is written down anywhere.
"""
