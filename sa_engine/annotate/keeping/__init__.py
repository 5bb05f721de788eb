"""What is kept in WORK: the journal, leases, drafts, links."""
