"""Writes the generated pages of the documentation, and checks the built site."""
