"""Long commands, trainings above all: one after the other here, on the workers of a scheduler, or as a SLURM array."""
