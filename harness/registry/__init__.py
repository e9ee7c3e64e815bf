"""The contract of an implementation, and where implementations are found."""
