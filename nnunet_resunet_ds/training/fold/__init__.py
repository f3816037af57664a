"""Provide what is written next to the weights of a fold: its record, its metrics and its validation."""
