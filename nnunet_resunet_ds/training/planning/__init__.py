"""Provide the plans and the recipe that a training follows."""
