"""The browser tool: people's masks and verdicts, kept in a folder of their own (WORK)."""
