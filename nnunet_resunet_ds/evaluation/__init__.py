"""Comparing label maps with a reference."""
