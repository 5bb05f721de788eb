"""`sa-engine model` and its subcommands."""
