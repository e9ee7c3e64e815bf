"""The version of this package, for everything that records or prints it."""

VERSION = "0.2.0"
