"""Provide the parts of the trainer: recipe, schedule, checkpoints, records and checks."""
