"""Reading: what is stored, as values, columns and pictures. Knows nothing of writers; runs in the caller's thread."""
