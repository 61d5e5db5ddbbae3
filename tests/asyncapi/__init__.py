"""The topics as an interface: their description, and messages held against it."""
