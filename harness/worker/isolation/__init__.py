"""What keeps a fault of an implementation inside its process, and tells of it."""
