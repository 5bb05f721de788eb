"""Where a dataset's files lie: a local folder or an object store."""
