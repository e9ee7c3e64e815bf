"""Number formats, exact sums, error measures, outcomes and statistics."""
