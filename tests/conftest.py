"""What every test relies on."""

from __future__ import annotations

import os
import signal

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The disk is not waited for: what is written is read on the same machine. What a run writes durably, and in
# which order, is tested by calls that fail or kill, in processes of their own (benchmarks/reliability).
os.fsync = lambda descriptor: None
