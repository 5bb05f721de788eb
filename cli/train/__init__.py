"""`sa-engine train` and its subcommands."""
