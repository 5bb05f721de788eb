"""`sa-engine evaluate` and its subcommands."""
