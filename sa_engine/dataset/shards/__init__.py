"""One shard: its claim, work in progress, tar, rows, stats, check and salvage."""
