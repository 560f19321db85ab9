from __future__ import annotations

import subprocess
import sys

import psutil

# The parent starts a process that would stay for long, says which, and stays as long.
PARENT = """
import os, subprocess, sys, time
child = "import sys, time; from egorep.orphans import end_with; end_with(int(sys.argv[1])); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child, sys.argv[1] or str(os.getpid())])
print(process.pid, flush=True)
process.wait()
"""


def start(parent: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    words = [sys.executable, "-c", PARENT, parent]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


def test_a_process_ends_when_its_parent_is_killed() -> None:
    parent, child = start("")
    assert child.is_running()
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs([child], timeout=60)
    assert not alive


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    parent, child = start("1234567")  # not the parent's id
    with parent:
        assert parent.wait(timeout=60) == 0, "it waited for the child"
    assert not child.is_running()
