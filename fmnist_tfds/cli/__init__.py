"""The command line: parses, runs, prints, chooses exit codes."""
