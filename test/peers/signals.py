"""signals.py PID TID SIGNAL TIMES PAUSE: sends a signal to one thread, so often, with a pause of so many seconds."""
import ctypes
import platform
import signal
import sys
import time

process, thread, name, times, pause = sys.argv[1:]
tgkill = {"x86_64": 234, "aarch64": 131}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(int(times)):
    if libc.syscall(tgkill, int(process), int(thread), int(signal.Signals[name])) != 0:
        break  # the thread has ended
    time.sleep(float(pause))
