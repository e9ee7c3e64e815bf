"""The experiments: each plans units of cells, measures one, and yields records."""
