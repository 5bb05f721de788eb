"""Training: data mixing, interactive rounds, losses, schedules, the resumable run."""
