"""Two calls at once, and calls in a fork, are refused; one after the other from any thread is right."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_moe import Runtime, UsageError
from edge_moe.errors import BackendError
from tests.fakes import FakeBackend, FakePart

X = np.random.default_rng(7).standard_normal((40, 1, 4, 4, 3)).astype(np.float32)
BUSY = "the runtime is busy with another call; open one Runtime for each thread"


class SlowPart(FakePart):
    """Waits in `invoke` until it may go on."""

    entered, go_on = threading.Event(), threading.Event()

    def invoke(self, tensor):
        SlowPart.entered.set()
        assert SlowPart.go_on.wait(20)
        super().invoke(tensor)


@pytest.fixture
def slow(make_bundle, fake_backend: FakeBackend):
    """A runtime whose base waits, a thread that is in it, and the future of its answer."""
    SlowPart.entered.clear()
    SlowPart.go_on.clear()
    runtime = Runtime(make_bundle(), backend=fake_backend, tau=0.0)
    runtime._engine._base = SlowPart(fake_backend.parts[0].weights)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(runtime.predict_tensor, X[0])
        assert SlowPart.entered.wait(20)
        yield runtime, answer
        SlowPart.go_on.set()
    runtime.close()


def test_a_second_call_at_once_is_refused_and_the_first_is_right(slow, make_bundle, fake_backend):
    runtime, answer = slow
    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as other:
        expected = [other.predict_tensor(x).scores for x in X[:2]]
    pixels = np.zeros((4, 4, 3), np.uint8)
    for call in (
        lambda: runtime.predict_tensor(X[1]),
        lambda: runtime.predict(pixels),
        lambda: runtime.part("gate"),
        runtime.close,
    ):
        with pytest.raises(UsageError, match=BUSY) as refused:
            call()
        assert "\n" not in str(refused.value)
    SlowPart.go_on.set()
    np.testing.assert_array_equal(answer.result(20).scores, expected[0])
    np.testing.assert_array_equal(runtime.predict_tensor(X[1]).scores, expected[1])


def test_parts_that_were_lent_take_turns_too(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as runtime:
        gate, base = runtime.part("gate"), runtime.part("base")
        SlowPart.entered.clear()
        SlowPart.go_on.clear()
        base.part = SlowPart(fake_backend.parts[0].weights)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(base.invoke, X[0])
            assert SlowPart.entered.wait(20)
            for call in (
                lambda: runtime.predict_tensor(X[1]),
                lambda: gate.invoke(np.zeros(6, np.float32)),
                lambda: base.output("logits"),
                base.close,
            ):
                with pytest.raises(UsageError, match=BUSY):
                    call()
            SlowPart.go_on.set()
            waiting.result(20)
        assert base.output("logits").shape == (1, 5)
        assert runtime.predict_tensor(X[1]).experts


def test_a_call_inside_of_a_call_is_refused(make_bundle, fake_backend, monkeypatch):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as runtime:
        monkeypatch.setattr(FakePart, "invoke", lambda self, tensor: runtime.predict_tensor(tensor))
        with pytest.raises(UsageError, match=BUSY):
            runtime.predict_tensor(X[0])


def test_a_call_that_failed_leaves_the_turn(make_bundle, fake_backend, monkeypatch):
    def fail(self, tensor):
        raise BackendError("no")

    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as runtime:
        expected = runtime.predict_tensor(X[0]).scores
        base = runtime.part("base")
        with monkeypatch.context() as failing:
            failing.setattr(FakePart, "invoke", fail)
            for call in (runtime.predict_tensor, base.invoke):
                with pytest.raises(BackendError):
                    call(X[0])
        with pytest.raises(UsageError, match="no part"):
            runtime.part("no")
        np.testing.assert_array_equal(runtime.predict_tensor(X[0]).scores, expected)


def test_from_thread_to_thread_one_after_the_other(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as runtime:
        expected = [runtime.predict_tensor(x).scores for x in X]
        for i, x in enumerate(X):
            with ThreadPoolExecutor(1) as pool:
                np.testing.assert_array_equal(pool.submit(runtime.predict_tensor, x).result(20).scores, expected[i])


def test_many_threads_get_their_own_answer_or_a_refusal(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.0) as runtime:
        expected = [runtime.predict_tensor(x).scores for x in X]

        def ask(i: int) -> bool:
            try:
                found = runtime.predict_tensor(X[i % len(X)]).scores
            except UsageError:
                return False
            np.testing.assert_array_equal(found, expected[i % len(X)])
            return True

        with ThreadPoolExecutor(4) as pool:
            assert any(pool.map(ask, range(2000)))


# --- forks ---

FORK = """
import os, signal, sys
import numpy as np
from edge_moe import Runtime, UsageError
from tests.fakes import FakeBackend

bundle, name, threads, size, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
x = np.random.default_rng(0).standard_normal((1, size, size, 3)).astype(np.float32)

def open_one():
    return Runtime(bundle, backend=FakeBackend() if name == "fake" else name, threads=threads, tau=0.0)

model = open_one()
part = model.part("base")
expected = model.predict_tensor(x).scores
if os.fork() == 0:
    signal.alarm(60)
    if what in ("call", "close"):
        pixels = np.zeros((8, 8, 3), np.uint8)
        calls = (model.predict_tensor, x), (model.predict, pixels), (model.part, "gate"), (part.invoke, x)
        for call, argument in calls:
            try:
                call(argument)
            except UsageError as error:
                assert "open one Runtime in each process" in str(error), error
            else:
                sys.exit("the child's call was answered")
    if what == "close":
        part.close()
        model.close()
        model.close()
    if what == "drop":
        del model, part
    if what == "open":
        with open_one() as own:
            np.testing.assert_array_equal(own.predict_tensor(x).scores, expected)
    sys.exit(0)
status = os.wait()[1]
np.testing.assert_array_equal(model.predict_tensor(x).scores, expected)
model.close()
print(status)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def fork(bundle: Path, name: str, threads: int, size: int, what: str) -> None:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", FORK, str(bundle), name, str(threads), str(size), what]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr  # the child's wait status; 14 hung, 11 crashed


@pytest.mark.parametrize("what", ["nothing", "call", "close", "drop", "open"])
def test_a_child_of_a_process_with_a_runtime(make_bundle, what):
    fork(make_bundle(), "fake", 1, 4, what)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("backend", ["litert", "onnx"])
def test_a_child_ends_well_whatever_it_does(own_bundle, backend, threads):
    for what in ("nothing", "close", "drop", "open"):
        fork(own_bundle, backend, threads, 32, what)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_child_of_a_process_with_threads_of_executorch_ends_well(threads):
    pytest.importorskip("executorch")
    script = f"""
import os, signal, sys
from edge_moe.backends import executorch
with executorch._without_log():
    library = executorch._import()
    executorch._set_threads(library, {threads})
for asks in (False, True):
    if os.fork() == 0:
        signal.alarm(60)
        if asks:
            with executorch._without_log():
                executorch._set_threads(library, {threads})
        sys.exit(0)
    print(os.wait()[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n0\n", "")


def test_what_was_open_in_the_parent_is_never_closed_in_the_child(make_bundle, fake_backend):
    runtime = Runtime(make_bundle(), backend=fake_backend, tau=0.0)
    runtime.predict_tensor(X[0])
    kept = runtime._let_go()  # as in a child
    assert len(kept) == 3
    assert runtime.loaded_experts == ()
    runtime.close()
    assert not any(part.closed for part in fake_backend.parts)
    with pytest.raises(UsageError, match="opened in another process, of which this one is a fork"):
        runtime.predict_tensor(X[0])
