"""The tests' own waiting: a busy machine is waited for, what hangs is not."""

import signal
import subprocess
import sys
import time

import patience
import pytest
from patience import Patience, finished


@pytest.fixture
def program():
    started = []

    def run(code: str) -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(patience, "STILL_SECONDS", 1.0)
    monkeypatch.setattr(patience, "WORK_SECONDS", 2.0)


def never():
    return False


def test_what_has_ended_is_not_waited_for(program):
    with pytest.raises(AssertionError, match="the process ended with 3"):
        Patience("it", program("import sys; sys.exit(3)")).until(never)


def test_what_stands_still_is_given_up(program):
    with pytest.raises(AssertionError, match="nothing has moved"):
        Patience("it", program("import time; time.sleep(600)")).until(never)


def test_what_works_without_end_and_without_a_sign_is_given_up(program):
    with pytest.raises(AssertionError, match="without a sign of progress"):
        Patience("it", program("while True: pass")).until(never)


def test_what_works_longer_than_it_may_is_given_up_signs_or_not(program):
    waiting = Patience("it", program("while True: pass"), work=1.5)
    with pytest.raises(AssertionError, match="were not enough"):
        waiting.until(waiting.moved)


def test_a_slow_one_is_waited_for_while_it_moves(program, tmp_path):
    """Four times as long as one that stands still, with as little work."""
    log = tmp_path / "log.txt"
    log.write_text("")
    code = f"import time\nfor i in range(20):\n  time.sleep(.2); print(i, file=open({str(log)!r}, 'a'), flush=True)"
    process = program(code)
    Patience("it", process, log=log).until(lambda: log.read_text().endswith("19\n"))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_one_that_the_machine_hardly_lets_work_is_waited_for(program):
    """It gets a twentieth of the processor and says nothing for four times as long as it might stand still."""
    process = program("while True: pass")
    process.send_signal(signal.SIGSTOP)
    waiting, begun = Patience("it", process), time.monotonic()

    def enough():
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        return time.monotonic() - begun > 4

    waiting.until(enough, pause=0.2)


def test_a_command_with_its_log(tmp_path):
    log = tmp_path / "log.txt"
    assert finished([sys.executable, "-c", "print('said'); raise SystemExit(4)"], "it", log) == 4
    assert log.read_text() == "said\n"
    with pytest.raises(AssertionError, match="nothing has moved"):
        finished([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(99)"], "it", log)
