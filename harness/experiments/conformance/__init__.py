"""The conformance catalogue: what is asked of a softmax, the judge, and the verdicts."""
