"""WORK, the folder of people's answers that `sa-engine annotate` keeps: reading it, and as a source
of annotations. Writing it is `sa_engine.annotate`'s."""
