"""Timers inside a worker, and what makes their samples comparable."""
