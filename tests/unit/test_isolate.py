"""Children of the kit: what they send, how they end, and work in order on any executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from coalloc import CoallocError, InvalidRequestError
from coalloc.testing import Action, Breach, CheckProgram, Property, Step, World, isolate
from coalloc.testing.isolate import Hung, Reporter, Stopped, crew, in_order, run_in_child, smallest
from tests.unit.allocators import Children

TARGET = "tests.unit.allocators:{}".format
PLAIN = TARGET("Plain")
BRIEF = 0.01
LONG = 60.0

pytestmark = pytest.mark.usefixtures("in_process")


def tells_all(_make_space: object, report: Reporter, *, word: str) -> str:
    """Tell everything that a child can tell."""
    report.world(World(limit=3))
    report.step(Step(Action.ALLOC, 0, 4096))
    report.progress(1, 2)
    report.found("a breach")
    report.call()
    return word


def test_a_child_tells_what_it_does_and_returns_its_result() -> None:
    """Progress and finds reach their callbacks before the result is returned."""
    told: list[object] = []
    result = run_in_child(
        tells_all,
        PLAIN,
        {"word": "done"},
        timeout=LONG,
        progress=lambda *so_far: told.append(so_far),
        heard=told.append,
    )
    assert (result, told) == ("done", [(1, 2), "a breach"])
    assert run_in_child(tells_all, PLAIN, {"word": "unheard"}, timeout=LONG) == "unheard"


def test_a_sign_of_life_is_not_sent_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two signs of life lie a while apart, so that quick calls do not fill the pipe."""
    sent: list[object] = []

    class Pipe:
        send = sent.append

    reporter, times = Reporter(Pipe()), iter([1.0, 1.1, 1.3])  # type: ignore[arg-type]
    monkeypatch.setattr("coalloc.testing.isolate.time.monotonic", lambda: next(times))
    for _ in range(3):
        reporter.call()
    assert sent == [("call", None), ("call", None)]


def hangs(_make_space: object, report: Reporter) -> None:
    """Take a step, and do not return."""
    report.world(World(limit=2))
    report.step(Step(Action.ALLOC, 0, 4096))
    Children.hang()


def dies(_make_space: object, report: Reporter) -> None:
    """Take a step, and end the process."""
    report.step(Step(Action.ALLOC, 0, 4096))
    Children.last.die()


def speaks_to_nobody(_make_space: object, _report: Reporter) -> None:
    """Find that nobody listens."""
    raise BrokenPipeError


def leaves(_make_space: object, _report: Reporter) -> None:
    """Raise what ends a program."""
    raise SystemExit(3)


def test_a_silent_child_is_killed_and_its_program_is_kept() -> None:
    """A child that says nothing for too long has hung in the last step that it told."""
    hung = run_in_child(hangs, PLAIN, {}, timeout=BRIEF)
    assert hung.program == CheckProgram(World(limit=2), (Step(Action.ALLOC, 0, 4096),))
    assert hung.breach.message == "after alloc 0 4096, nothing has come back for 0.01 seconds"
    assert not hung.died


def test_a_child_that_ends_by_itself_is_told_from_one_that_hangs() -> None:
    """The end of a process is reported with its status; what raises SystemExit is reported by that name."""
    hung = run_in_child(dies, PLAIN, {}, timeout=LONG)
    assert hung.died
    assert hung.breach.message == "after alloc 0 4096, the process ended by itself, with status 3"
    assert run_in_child(speaks_to_nobody, PLAIN, {}, timeout=LONG).died
    assert run_in_child(leaves, PLAIN, {}, timeout=LONG).breach.message == "it raised SystemExit"


def refuses(_make_space: object, _report: Reporter) -> None:
    """Raise an error of the library."""
    raise InvalidRequestError("size", 7, "is odd")


def fails(_make_space: object, _report: Reporter) -> None:
    """Have a bug."""
    raise ZeroDivisionError("by zero")


def test_errors_come_out_of_the_child() -> None:
    """An error of the library is raised as it is, and any other as the kit's own failure."""
    with pytest.raises(InvalidRequestError, match="size=7: is odd"):
        run_in_child(refuses, PLAIN, {}, timeout=LONG)
    with pytest.raises(CoallocError, match="the kit itself failed: ZeroDivisionError: by zero"):
        run_in_child(fails, PLAIN, {}, timeout=LONG)


def test_a_target_whose_import_does_not_return_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that hangs before it has found its target blames the target's import."""
    monkeypatch.setattr(isolate, "_STARTING", BRIEF)
    monkeypatch.setattr(isolate, "find_target", lambda _target: Children.hang())
    with pytest.raises(InvalidRequestError, match=r"cannot be imported: nothing has come back for 0\.01 seconds"):
        run_in_child(hangs, PLAIN, {}, timeout=BRIEF)


# --- the smallest program that hangs ---------------------------------------------------------------------------

MANY = (*(Step(Action.ALLOC, number, 4096) for number in range(3)), Step(Action.FREE, 1))
ONE = (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0))


def hung_in(*steps: Step, died: bool = False) -> Hung:
    """Return what a child reports that hung in the last step."""
    return Hung(CheckProgram(World(), steps), Breach(Property.P17, "seen"), died)


def test_a_loop_in_python_is_made_short() -> None:
    """A program that hangs in Python is minimised with its lines counted."""
    found = smallest(TARGET("Loops"), hung_in(*MANY), None, LONG)
    assert found.program.steps == ONE
    assert "does not return" in found.breach.message


def test_a_program_that_hangs_elsewhere_is_kept_as_it_is() -> None:
    """Where counting lines does not stop the call, or nothing hangs when run again, the program is not made shorter."""
    for name, patience in (("Hangs", BRIEF), ("Plain", LONG)):
        found = smallest(TARGET(name), hung_in(*MANY), None, patience)
        assert len(found.program.steps) == len(MANY)
        assert found.breach.message == "seen"


def test_a_program_that_ends_its_process_is_made_short_in_further_processes() -> None:
    """A program that kills its process is minimised by running it in one process after another."""
    found = smallest(TARGET("Dies"), hung_in(*MANY, died=True), None, LONG)
    assert found.program.steps == ONE
    kept = smallest(PLAIN, hung_in(*MANY, died=True), None, LONG)
    assert kept.program.steps == MANY


# --- work in order ------------------------------------------------------------------------------------------------


def double(number: int) -> int:
    """Return twice a number."""
    return 2 * number


def numbers(n: int) -> Iterator[tuple[int]]:
    """Yield arguments."""
    return ((number,) for number in range(n))


def test_results_come_in_the_order_of_the_pieces() -> None:
    """With and without an executor, and with more pieces than are handed out at once."""
    expected = [2 * number for number in range(40)]
    assert list(in_order(None, double, numbers(40))) == expected
    with crew(2) as executor:
        assert list(in_order(executor, double, numbers(40))) == expected


def test_work_that_nobody_waits_for_is_cancelled() -> None:
    """Whoever stops reading cancels the pieces that have not begun."""
    made: list[Future[int]] = []

    class Lazy(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
            future: Future[Any] = Future() if made else super().submit(fn, *args, **keywords)
            made.append(future)
            return future

    with Lazy(1) as executor:
        results = in_order(executor, double, numbers(3))
        assert next(results) == 0
        results.close()
    assert [future.cancelled() for future in made] == [False, True, True]


class Given(ThreadPoolExecutor):
    """An executor whose futures are given; it runs nothing."""

    def __init__(self, *futures: Future[int]) -> None:
        super().__init__(1)
        self.futures = iter(futures)

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        """Return the next future."""
        return next(self.futures)


def future(*, result: int | None = None, error: BaseException | None = None, running: bool = True) -> Future[int]:
    """Return a future that is done, runs, or waits."""
    made: Future[int] = Future()
    if running:
        made.set_running_or_notify_cancel()
    if result is not None:
        made.set_result(result)
    if error is not None:
        made.set_exception(error)
    return made


def test_an_interrupt_comes_after_the_results_that_there_are() -> None:
    """What is done is yielded, what was stopped or still runs is not, and then the interrupt is raised."""
    futures = (
        future(result=1), future(error=KeyboardInterrupt()), future(error=Stopped()),
        future(), future(result=5), future(running=False),
    )  # fmt: skip
    got: list[int] = []
    with Given(*futures) as executor, pytest.raises(KeyboardInterrupt):
        got.extend(in_order(executor, double, numbers(len(futures))))
    assert got == [1, 5]


RUNS = threading.Event()


def interrupted(number: int) -> int:
    """Be interrupted while another child runs, or be that child."""
    if number == 0:
        RUNS.wait()
        raise KeyboardInterrupt
    RUNS.set()
    return run_in_child(hangs, PLAIN, {}, timeout=LONG)  # type: ignore[no-any-return]


def test_a_crew_that_is_stopped_kills_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt stops the crew, and a child that still runs is killed."""
    monkeypatch.setattr(isolate, "_LOOK", BRIEF)
    with crew(2) as executor, pytest.raises(KeyboardInterrupt):
        list(in_order(executor, interrupted, numbers(2)))
    assert Children.killed.is_set()


def test_a_crew_waits_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a crew a silent child is given up after the timeout, too."""
    monkeypatch.setattr(isolate, "_LOOK", BRIEF / 4)
    with crew(1) as executor:
        hung = executor.submit(run_in_child, hangs, PLAIN, {}, timeout=BRIEF).result()
    assert "nothing has come back" in hung.breach.message


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_a_crew_of_nobody_is_refused(jobs: Any) -> None:
    """A number of jobs that is no int >= 1 is refused."""
    with pytest.raises(InvalidRequestError, match="jobs"), crew(jobs):
        pass
