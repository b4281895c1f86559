"""The meter: seconds, CPU of threads and children, and a peak that is the work's own and not the process's."""

import gc
import subprocess
import sys
import threading
import time

from weather_platform.costs import Meter, process_peak_mb

MEBIBYTE = 1 << 20


def held(mebibytes: int, seconds: float = 0.2) -> None:
    """Hold touched memory for a while."""
    block = bytearray(b"x") * (mebibytes * MEBIBYTE)
    time.sleep(seconds)
    del block


def meters() -> set[threading.Thread]:
    """Threads of meters that are alive."""
    return {thread for thread in threading.enumerate() if thread.name == "meter"}


def test_wall_seconds_pass_while_cpu_seconds_do_not() -> None:
    meter = Meter()
    time.sleep(0.3)
    costs = meter.stop()
    assert 0.3 <= costs.wall_seconds < 2
    assert costs.cpu_seconds < 0.2


def test_work_in_a_child_process_counts_as_cpu_seconds() -> None:
    meter = Meter()
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert meter.stop().cpu_seconds >= 0.5


def test_the_peak_of_a_piece_of_work_is_its_own_and_not_that_of_the_process() -> None:
    held(400, seconds=0)
    before = process_peak_mb()
    quiet, loud = Meter(), Meter()
    silence = quiet.stop()
    held(150)
    noise = loud.stop()
    assert 120 < noise.peak_memory_mb - silence.peak_memory_mb < 200
    assert noise.peak_memory_mb < before
    assert process_peak_mb() >= before, "what others read of the process stays true"


def test_a_new_high_is_told_exactly_however_short_it_was() -> None:
    held(50, seconds=0)
    before = process_peak_mb()
    meter = Meter()
    held(int(before) + 200, seconds=0)
    assert meter.stop().peak_memory_mb == process_peak_mb()
    assert process_peak_mb() > before + 100


def test_a_meter_inside_another_disturbs_neither() -> None:
    outer = Meter()
    held(150)
    inner = Meter()
    time.sleep(0.1)
    small, large = inner.stop(), outer.stop()
    assert large.peak_memory_mb - small.peak_memory_mb > 100
    assert large.wall_seconds > small.wall_seconds


def test_no_thread_is_left_of_a_stopped_meter_nor_of_one_that_was_dropped() -> None:
    before = meters()
    stopped, dropped = Meter(), Meter()
    started = meters() - before
    assert len(started) == 2
    stopped.stop()
    del dropped
    gc.collect()
    deadline = time.monotonic() + 5
    while meters() & started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not meters() & started
