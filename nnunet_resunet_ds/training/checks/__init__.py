"""Provide the checks before a training: that plans, data, split and weights belong together."""
