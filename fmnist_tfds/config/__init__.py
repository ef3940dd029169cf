"""What the user decided: settings, URLs, TOML file, and the only reader of the environment."""
