"""Verified files under their final names, partial files, receipts."""
