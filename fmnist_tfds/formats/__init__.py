"""The byte layouts, each defined once, both directions."""
