"""Reference vectors: inputs and correctly rounded results as files that any language reads."""
