"""Says where the fault lies: stage-by-stage probes of every source, and the report made of them."""
