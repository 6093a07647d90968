"""The journal: a memory-mapped, preallocated file that the ring lives in, so that an append survives its process.

Who may do what. One process writes a journal, through one :class:`~penstock._journal.ring.Ring`; any of its threads
append, one writer thread drains and releases. Other processes only read it, until its lock is free: then whoever
takes the lock may recover and remove it. Files: ``format`` (the bytes, docs/format/journal.md in code), ``file``
(creating, mapping, locking, growing), ``ring`` and ``lane`` (the producer's side), ``drain`` (records back to
columns), ``recovery`` (what a dead process left), ``native`` (which producer runs: this Python reference or ``_ring``,
the same in C++). Nothing here knows of sessions, of line files, or of a writer thread."""
