"""What the trainer stands on: recipe, schedule, checkpoints, records and checks."""
