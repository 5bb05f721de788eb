"""Which images a run is about: folders, lists, tars, object stores, and the frozen list."""
