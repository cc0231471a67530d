"""Steps as real processes: resumed, killed, failing, in parallel, and through submitit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import benchmark_fixture
import pytest
from benchmark_fixture import a_study, run, starts, step

from evaluation.benchmark.executors import ClusterExecutor, Command, LocalExecutor, make_executor
from evaluation.benchmark.processes import lock_path, share_of_cores, try_lock
from evaluation.benchmark.runner import Runner, kind_of
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.steps import difference
from evaluation.benchmark.study import Minutes
from nnunet_synth_aug.core.errors import UserError


def test_finished_steps_are_skipped_and_lost_products_made_again(tmp_path, capsys):
    steps = [step(tmp_path, "one"), step(tmp_path, "two", ("one",))]
    run(tmp_path, steps)
    run(tmp_path, steps)
    assert (starts(tmp_path, "one"), starts(tmp_path, "two")) == (1, 1)
    assert capsys.readouterr().out.count("[1/2] one: ") == 1  # one line per step
    (tmp_path / "two").unlink()
    run(tmp_path, steps)
    assert (starts(tmp_path, "one"), starts(tmp_path, "two")) == (1, 2)


def test_the_time_left_is_estimated_and_improved(tmp_path, capsys, monkeypatch):
    """What the study tells of other kinds of steps is corrected by how long this machine takes."""
    steps = [step(tmp_path, "plan"), step(tmp_path, "bank"), step(tmp_path, "train_a"), step(tmp_path, "train_b")]
    told = Minutes(plan=2, bank=4, train=10)
    runner = Runner(a_study(minutes=told), steps, tmp_path, LocalExecutor(tmp_path))
    assert runner._left() == " (about 26 min left)"
    took = iter([60.0, 240.0, 180.0, 180.0])  # half of what was told, then twice as long: 5 minutes of 6
    monkeypatch.setattr(Runner, "_note", lambda self, step, _: self._seconds.setdefault(kind_of(step), []).append(next(took)))
    runner.run()
    out = capsys.readouterr().out
    assert out.startswith("4 steps, 0 done already (about 26 min left); logs in ")
    assert [line.partition("(")[2] for line in out.splitlines() if "/4] " in line] == [
        "about 12 min left)",
        "about 17 min left)",
        "about 3 min left)",
        "",
    ]
    assert out.count("$ python -c ") == 4
    assert Runner(a_study(minutes=Minutes(train=10)), steps, tmp_path, LocalExecutor(tmp_path))._left() == " (at least 20 min left)"
    assert Runner(a_study(), steps, tmp_path, LocalExecutor(tmp_path))._left() == ""


def test_a_failure_holds_up_only_what_needs_it(tmp_path):
    bad = step(tmp_path, "bad", code="import sys; print('out of luck'); sys.exit(3)")
    steps = [bad, step(tmp_path, "after_bad", ("bad",)), step(tmp_path, "other")]
    with pytest.raises(UserError, match=r"'bad' failed \(exit code 3: out of luck\).*; start the same command again"):
        run(tmp_path, steps)
    assert (starts(tmp_path, "after_bad"), starts(tmp_path, "other")) == (0, 1)
    empty = step(tmp_path, "empty", code="pass")
    with pytest.raises(UserError, match="no product"):
        run(tmp_path, [empty])


def test_another_study_is_not_mixed_into_the_folder(tmp_path):
    run(tmp_path, [step(tmp_path, "one")])
    with pytest.raises(UserError, match=r"changed since 'one' was run in .* \(a, b was 1 and is 2\)"):
        run(tmp_path, [step(tmp_path, "one", settings={"a": {"b": 2}})])
    assert difference({"a": [1], "b_": None}, {"a": [1], "b_": 2}) == "b was None and is 2"
    assert difference({"a": {"b": 1}}, {"a": {"b": 1}}) == ""


def test_workers_share_the_steps_and_the_gpus(tmp_path):
    show = "import os, sys, time; time.sleep(1.0); open(sys.argv[1], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    steps = [step(tmp_path, name, code=show) for name in ("one", "two")]
    run(tmp_path, steps, a_study(workers=2, gpus=(4, 6)))
    assert {(tmp_path / name).read_text() for name in ("one", "two")} == {"4", "6"}
    ended = [Stamps(tmp_path / "steps").read(s)["seconds"] for s in steps]
    assert min(ended) > 0.9


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="cores cannot be shared out here")
def test_workers_without_gpus_share_out_the_cores(tmp_path):
    show = "import os, sys, time; time.sleep(1.0); open(sys.argv[1], 'w').write(str(sorted(os.sched_getaffinity(0))))"
    study = a_study(workers=2, device="cpu")
    Runner(study, [step(tmp_path, name, code=show) for name in ("one", "two")], tmp_path, make_executor(study, tmp_path)).run()
    one, two = (set(json.loads((tmp_path / name).read_text())) for name in ("one", "two"))
    assert not one & two
    assert one | two == os.sched_getaffinity(0)
    assert make_executor(a_study(workers=2, device="cuda"), tmp_path) == make_executor(a_study(), tmp_path)  # all cores for each
    assert share_of_cores(5, 6) is None or len(os.sched_getaffinity(0)) > 5  # more workers than cores


#: Writes which cores it and a thread of it may use, until it has seen a change.
CORES = """
import json, os, sys, threading, time
seen, ended = [], threading.Event()
other = threading.Thread(target=ended.wait)
other.start()
while len(seen) < 2:
    now = [sorted(os.sched_getaffinity(thread)) for thread in (0, other.native_id)]
    if now not in seen and now[0] == now[1]:
        seen.append(now)
    time.sleep(0.05)
ended.set()
open(sys.argv[1], "w").write(json.dumps(seen))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="cores cannot be shared out here")
def test_a_command_beside_which_nothing_can_run_takes_all_cores(tmp_path):
    study = a_study(workers=2, device="cpu")
    beside = step(tmp_path, "beside", code="import sys, time; time.sleep(1.5); open(sys.argv[1], 'w').write('done')")
    steps = [step(tmp_path, "long", code=CORES), beside, step(tmp_path, "last", ("long",))]
    Runner(study, steps, tmp_path, make_executor(study, tmp_path)).run()
    (own, thread), (all_of_them, by_thread) = json.loads((tmp_path / "long").read_text())
    assert set(own) == set(thread) < os.sched_getaffinity(0)
    assert set(all_of_them) == set(by_thread) == os.sched_getaffinity(0)


@pytest.fixture
def driver(tmp_path):
    """Starts a benchmark in a process of its own."""
    (tmp_path / "out").mkdir()
    return lambda: subprocess.Popen([sys.executable, str(benchmark_fixture.__file__), str(tmp_path / "out")])


def until(condition, seconds: float = 60.0) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited in vain"
        time.sleep(0.05)


def test_kill_9_leaves_no_two_commands_at_one_step(tmp_path, driver):
    out = tmp_path / "out"
    for attempt in (1, 2):
        process = driver()
        until(lambda n=attempt: starts(out, "slow") == n)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "slow").exists()
    with lock_path(out, "slow").open("a+") as stream:
        assert not try_lock(stream), "the command of the killed benchmark should still be running"
    process = driver()
    until(lambda: starts(out, "slow") == 3)
    (out / "go").touch()
    assert process.wait(60) == 0
    assert (out / "slow").read_text() == "done ", "a command of a killed benchmark went on to its end"
    assert (starts(out, "quick"), starts(out, "last")) == (1, 1)
    assert Stamps(out / "steps").read(step(out, "slow"))["attempts"] == 3


def test_a_second_benchmark_in_the_folder_is_refused_and_sigterm_ends_everything(tmp_path, driver):
    out = tmp_path / "out"
    process = driver()
    until(lambda: starts(out, "slow") == 1)
    with pytest.raises(UserError, match="another benchmark is at work"):
        run(out, [step(out, "quick")])
    process.terminate()
    assert process.wait(30) == 143
    with lock_path(out, "slow").open("a+") as stream:
        assert try_lock(stream)
    assert not (out / "slow").exists()


# ------------------------------------------------------------------ submitit


def test_submitit_runs_the_steps_and_tells_failures(tmp_path):
    pytest.importorskip("submitit")
    study = a_study(executor="submitit-local", workers=2)
    steps = [step(tmp_path, "one"), step(tmp_path, "two", ("one",)), step(tmp_path, "bad", code="print('no luck'); raise SystemExit(4)")]
    with pytest.raises(UserError, match=r"'bad' failed \(exit code 4: no luck\)"):
        Runner(study, steps, tmp_path, ClusterExecutor(study, tmp_path)).run()
    assert (starts(tmp_path, "one"), starts(tmp_path, "two")) == (1, 1)
    assert (tmp_path / "jobs").is_dir()


def test_a_job_whose_time_is_up_queues_itself_again(tmp_path):
    pytest.importorskip("submitit")
    one = step(tmp_path, "one", how="waits")
    assert one.command is not None
    job = Command(one.command(0), {}, tmp_path / "one.log", lock_path(tmp_path, "one"))
    first = threading.Thread(target=job)
    first.start()
    until(lambda: starts(tmp_path, "one") == 1)
    again = job.checkpoint()  # what submitit calls in the job
    first.join(30)
    assert not one.done()
    (tmp_path / "go").touch()
    assert again.result() == 0
    assert starts(tmp_path, "one") == 2
    assert (tmp_path / "one").read_text() == "done "


def test_bad_cluster_settings_get_one_sentence(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match="executor slurm cannot be used"):
        ClusterExecutor(a_study(executor="slurm", slurm={"timeout_min": 5}), tmp_path)
    with pytest.raises(UserError, match="correct 'slurm'"):
        ClusterExecutor(a_study(executor="submitit-local", slurm={"no_such_setting": 5}), tmp_path)
