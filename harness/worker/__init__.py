"""Everything that calls an implementation: its process, and the coordinator's end of it."""
