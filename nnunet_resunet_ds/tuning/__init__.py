"""Search the settings of the post-processing on cases that a model was validated on."""
