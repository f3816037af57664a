"""Run all steps on a made-up cohort, without data and without a GPU."""
