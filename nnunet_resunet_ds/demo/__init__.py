"""The whole way on a phantom cohort made on the spot."""
