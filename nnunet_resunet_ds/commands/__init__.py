"""One module a subcommand: its help, its arguments, and a call of the function that does the work."""
