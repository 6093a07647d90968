"""The run folder: names, paths, JSON documents, locks and the bytes of uploaded files.

Every thread may call what is in here; nothing here starts a thread or keeps state between calls.
Must not know sessions, rings, writers or sinks.
"""
