"""Settings of every suite: generated examples are the same at each run, and may take their time.

`make test-deep` looks for new ones; what it finds becomes a test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    derandomize="MACHINE_STEPS" not in os.environ,
    # How long an example takes says how busy the machine is.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("steady")
