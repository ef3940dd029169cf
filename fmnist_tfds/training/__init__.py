"""The training thread: configuration, training, pictures, quickstart."""
