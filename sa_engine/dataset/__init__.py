"""What lies on disk: records, inputs, images, shards, manifest, reader, verification."""
