"""Share between training, prediction and doctor: number formats, the environment, kept memory."""
