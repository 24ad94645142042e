"""Starts processes for helpers.py and measures them: a child's peak memory counts from the fork, so it must be forked from
something small. One JSON list a line: in [argv, cwd, stdout, stderr, timeout], out [exit status, CPU seconds, peak bytes]."""
import json
import os
import signal
import sys

for line in sys.stdin:
    argv, cwd, out, err, timeout = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            for path, number in ((os.devnull, 0), (out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC * (number > 0)), number)
            os.chdir(cwd)
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(timeout)
    _, status, usage = os.wait4(pid, 0)
    signal.alarm(0)
    print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10]), flush=True)
