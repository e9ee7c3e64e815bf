"""Pages of a site of many runs: what only several runs together can tell."""
