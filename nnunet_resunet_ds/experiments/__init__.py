"""Measure the method: the paper's ablation, the systems it compares with, and the benchmark."""
