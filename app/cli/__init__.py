"""The `beacon` command, one module for each group of its subcommands."""
