"""The pages of a report, a module for each."""
