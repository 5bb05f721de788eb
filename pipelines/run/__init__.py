"""How any stage's images are worked through: workers, shards, watching, stopping, repair."""
