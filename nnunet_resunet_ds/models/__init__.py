"""Describe trained models: the starter model that comes with the package, and those of the user."""
