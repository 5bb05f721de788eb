"""The model while people click: encoding in a process of its own, decoding in a thread."""
