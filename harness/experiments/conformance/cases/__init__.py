"""The cases of the conformance catalogue, a module for each group."""
