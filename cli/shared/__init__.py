"""What several commands share: options, parameter types, progress, summaries."""
