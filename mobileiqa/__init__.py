"""Image-quality models on phones. A signal while a command's imports run ends it at once, in silence.

There is nothing to clean yet; interruption.py has what holds once the command runs. `python -m` and our own script
are known by sys.argv[0]; whoever else imports the package keeps their signals. `_signal` and not `signal`, which
imports for milliseconds in which Ctrl-C would be a traceback.
"""

import _signal
import os
import sys

if sys.argv[:1] and os.path.basename(sys.argv[0]) in ("-m", "mobileiqa", "mobileiqa.exe"):
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)
        if number and _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
            _signal.signal(number, lambda number, frame: os._exit(128 + number))
    del name, number


def __getattr__(name: str) -> object:
    """`mobileiqa.Scorer`, imported when it is asked for."""
    if name == "Scorer":
        from mobileiqa.scorer import Scorer

        return Scorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
