"""Train the systems that the paper compares with, on the same data, patch, recipe and loss as ours."""
