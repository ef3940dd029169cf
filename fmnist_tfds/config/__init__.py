"""Settings, URLs, the TOML file, and the only reader of the environment."""
