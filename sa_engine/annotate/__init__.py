"""The browser tool: people's masks, verdicts and ratings, kept in a folder of their own (WORK)."""
