"""`sa-engine submit`: the work on a dataset handed to a scheduler."""
