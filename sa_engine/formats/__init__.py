"""Foreign annotation formats: one file per format, each import and export."""
