"""A failure -> its cause, the evidence and the remedy. Opens nothing."""
