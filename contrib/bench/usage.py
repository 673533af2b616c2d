"""What processes cost: CPU time and memory of a process with all its children, from /proc."""

import glob
import os
import re

TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid):
    """The fields of /proc/PID/stat from the state on; empty when the process has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []


def family(pid):
    """The process and all its descendants that are alive."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*"):
        fields = _fields(path[6:])
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(path[6:]))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pid):
    """User and system time of the process, of its children, and of those that have ended and were waited for."""
    ticks = 0
    for one in family(pid):
        fields = _fields(one)
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def memory(pid):
    """Bytes in memory of the process and its children; what several share counts once."""
    kilobytes = 0
    for one in family(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup", encoding="utf-8") as rollup:
                kilobytes += int(re.search(r"^Pss:\s+(\d+) kB", rollup.read(), re.MULTILINE)[1])
        except OSError:
            pass
    return kilobytes * 1024


def peak_memory(pid):
    """The most bytes that the process, without its children, ever had in memory."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024


def wake_ups(pid):
    """How often the threads of the process went to sleep, and so were woken, so far."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path, encoding="utf-8") as status:
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.MULTILINE)[1])
    return total
