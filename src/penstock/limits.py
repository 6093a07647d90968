"""Every bound and default of penstock: the unit is in the name, the reason in the comment.

Nothing here is read from outside; what a user may change is a field of :class:`penstock.config.Config`,
whose defaults come from here.
"""

from __future__ import annotations

from typing import Final

# -- ring and journal ---------------------------------------------------------------------------------------------
RING_BYTES: Final = 8 << 20  # 131,072 two-field points: over a second of a hot loop at 100,000 points/s
RING_MIN_BYTES: Final = 64 << 10  # below this a single large record would not leave room for others
RING_MAX_BYTES: Final = 1 << 30  # offsets in a record are 32 bit; a GiB is already hours of work for recovery
RECORD_MAX_SHARE: Final = 4  # one record may take at most 1/4 of the ring, so that a full ring always drains
POPULATE_BYTES: Final = (
    1 << 20
)  # of a ring, mapped when it is opened (0.8 ms); the C core maps the rest in the background
DEFINITIONS_BYTES: Final = 64 << 10  # about 1,000 track names; the region grows by doubling
LANE_FIELDS: Final = 16  # 4-bit type codes of one 64-bit word; wider points take the general lane
WAKE_SHARE: Final = 4  # the producer wakes the writer each time another 1/4 of the ring has filled

# -- writer -------------------------------------------------------------------------------------------------------
FLUSH_INTERVAL_S: Final = 0.3  # an idle session wakes 3.3 times a second (promise: at most 4)
SYNC_INTERVAL_S: Final = 0.6  # with the flush interval: a point is fsynced at most 0.9 s after its append
QUANTUM_BYTES: Final = 16 << 10  # 256 two-field points: about 200 us of the GIL before the writer gives way
FAST_QUANTUM_BYTES: Final = 2 << 20  # with the C core, which does not hold the GIL meanwhile: 32,768 two-field points
CHUNK_BYTES: Final = 256 << 10  # a track's encoded lines are handed to the disk at this size at the latest
PENDING_BYTES: Final = 8 << 20  # encoded lines that may wait in memory over all tracks of a session
OPEN_LINE_FILES: Final = 128  # line files that a session keeps open; a soft limit of 1,024 is common
STALL_RETRY_S: Final = 0.5  # pause after the disk refused a write; resumes well within 5 s of space
FULL_LOOK_S: Final = 0.1  # a blocked producer is woken when there is room; it also looks by itself this often
ASYNC_LOOK_S: Final = 0.002  # an async caller looks for room this often: it cannot block on a lock
WARNING_INTERVAL_S: Final = 60.0  # the library's own log says the same thing at most once a minute
HEARTBEAT_S: Final = 1.0  # how often a live writer stamps its journal's header

# -- exit ---------------------------------------------------------------------------------------------------------
EXIT_TIMEOUT_S: Final = 10.0  # a normal exit never waits longer; the rest is safe in the journal
FLUSH_TIMEOUT_S: Final = 60.0  # an explicit flush without a time limit

# -- names and values ---------------------------------------------------------------------------------------------
NAME_PART_BYTES: Final = 255  # what one directory entry holds on every common file system
NAME_BYTES: Final = 1024  # a nested name; leaves room under PATH_MAX = 4,096 for the root
FIELD_NAME_BYTES: Final = 1024  # as the ring's definitions allow
DEPTH: Final = 32  # nesting of lists and dicts in one value; deeper is a mistake, not data
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

# -- files and documents ------------------------------------------------------------------------------------------
FILE_BYTES: Final = 5 << 30  # largest single upload, as Dreamlake had it
COPY_BYTES: Final = 1 << 20  # block size of streamed copies and checksums
TAIL_BYTES: Final = 64 << 10  # block size when the end of a line file is searched
LOCK_TIMEOUT_S: Final = 30.0  # waiting for another process to finish with a document
READ_POINTS: Final = 1000  # default page of track.read()
