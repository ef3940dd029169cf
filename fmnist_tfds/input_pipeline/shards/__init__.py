"""From a data_dir to proved arrays: which files, what they hold, examples looked up by number."""
