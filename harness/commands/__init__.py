"""The commands beyond those of `harness.cli`: one module each, a plain function to register."""
