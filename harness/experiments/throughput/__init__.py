"""Throughput across class counts, on the host and on a device."""
