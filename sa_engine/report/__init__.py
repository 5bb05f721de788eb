"""Pictures and pages for people: overlays, galleries, plots."""
