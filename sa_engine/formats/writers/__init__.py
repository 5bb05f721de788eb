"""One file per group of foreign formats that are written."""
