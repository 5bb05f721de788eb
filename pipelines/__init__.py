"""The stages as plain functions over a dataset, and how their shards are run."""
