"""Measured side by side with the peers."""
