"""A container to hand in: written from a model, and tried here as a challenge would run it."""
