"""Processes whose clock is minutes off: a small library before libc tells them the shifted time, C code included.

What must stay true: only the clock of the day is shifted. A wrong clock goes on as fast as a right one, so monotonic
time, sleeping and waiting are as they are. (libfaketime 0.9.10 shifts or breaks these with Python 3.11.)
"""

import shutil
import subprocess
from pathlib import Path

COMPILER = "cc"
MISSING = f"{COMPILER} is missing; Debian's packages `gcc` and `libc6-dev` have it: apt-get install gcc libc6-dev"
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long off(void) { const char *text = getenv("CLOCK_OFF_S"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (told) *told = found.tv_sec;
    return found.tv_sec;
}
"""


def can_shift() -> bool:
    """Whether clocks can be shifted here."""
    return shutil.which(COMPILER) is not None


def shifted(folder: Path, off_s: int) -> dict[str, object]:
    """The environment of a process whose clock is off by so many seconds; nothing where that can't be had."""
    if not can_shift():
        return {}
    library, source = folder / "clock.so", folder / "clock.c"
    if not library.exists():
        source.write_text(SOURCE)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    return {"LD_PRELOAD": library, "CLOCK_OFF_S": off_s}
