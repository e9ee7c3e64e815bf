"""How wrong results are off: patterns, each of which names a fault in a sentence, or None."""
