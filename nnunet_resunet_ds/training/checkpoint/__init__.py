"""Provide checkpoints: their names, what they hold, and what is made of their weights."""
