"""Any copy of the data, in any container -> the four verified files."""
