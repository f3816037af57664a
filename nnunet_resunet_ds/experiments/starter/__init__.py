"""Make the starter model again: train it, tune and measure it on cases that each fold had not seen, and pack it."""
