"""The command line: one click command per file; parse, build a config, call one pipeline, print."""
