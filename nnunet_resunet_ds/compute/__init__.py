"""What trainer, prediction and doctor share: number formats, the environment, kept memory, switches."""
