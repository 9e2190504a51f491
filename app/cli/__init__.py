"""The `beacon` command line, one module for each group of subcommands."""
