"""A run that is stopped and continued is the run that never stopped, in every bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import manualbp as mbp
from compare import TrainResult, resume
from compare.run.checkpoint import checkpoint_steps
from compare.run.engine_steps import EngineSteps
from compare.run.folder import METRICS
from compare.run.loop import Loop
from compare.run.record import read_metrics
from compare.run.resume import resume_watched
from compare.run.start import Start
from compare.run.steps import Step, Steps
from compare.run.stops import Stops
from compare.run.train import execute
from compare.run.watcher import Plan
from tests.planted import config, small_data, spoiled
from tests.spread import spread


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.plan: Plan | None = None

    def started(self, plan: Plan) -> None:
        self.plan = plan

    def warned(self, line: str) -> None:
        self.warnings.append(line)

    def evaluated(self, report: Any) -> None: ...


def run(folder: Path, name: str, task: str = "binary", **options: Any) -> TrainResult:
    options = {"epochs": 5, "name": name, "checkpoint_every": 1} | options
    return execute(config(folder, **options), Watcher(), data=small_data(task))


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes Ctrl-C arrive in the middle of a step, by its number; never again after that."""

    def at(number: int, sent: signal.Signals = signal.SIGINT) -> None:
        take = Steps.take

        def taken(steps: Steps, step: Step) -> None:
            if step.number == number:
                monkeypatch.setattr(Steps, "take", take)
                signal.raise_signal(sent)
            take(steps, step)

        monkeypatch.setattr(Steps, "take", taken)

    return at


def equal(one: TrainResult, other: TrainResult) -> None:
    """Nothing but the clock tells the two runs apart."""
    assert one.history == other.history
    assert (one.verdict_text, one.epochs, one.steps) == (other.verdict_text, other.epochs, other.steps)
    assert (one.best_epoch, one.overfitting_epoch) == (other.best_epoch, other.overfitting_epoch)
    ours, theirs = dict(mbp.named(one.params)), dict(mbp.named(other.params))
    assert all(torch.equal(ours[path], theirs[path]) for path in ours)
    assert all(torch.equal(p, other.twin_params[path]) for path, p in one.twin_params.items())
    for file in (METRICS, "text.jsonl"):
        assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes(), file
    newest = f"{one.steps:012d}.safetensors"  # generator states and histories too
    if one.exit_status == 0:
        assert (one.folder / "checkpoints" / newest).read_bytes() == (
            other.folder / "checkpoints" / newest
        ).read_bytes()


CASES = [
    {"update": update, "dtype": dtype, "check": check, **more}
    for (update, dtype), (check, more) in zip(
        itertools.product(("batch", "stochastic", "mini-batch"), ("float32", "float64")),
        itertools.cycle(
            [
                ("every", {"l2": 0.01}),
                ("epoch", {"activation": "gelu"}),  # within the noise floor, not bit for bit
                (7, {"activation": "silu", "log_every": 2}),
                ("off", {"activation": "relu", "init": "kaiming"}),
                ("every", {"activation": "elu", "patience": 3}),
            ]
        ),
    )
]


@pytest.mark.parametrize("options", CASES, ids=lambda options: "-".join(str(v) for v in options.values()))
def test_every_way_to_train(options: dict[str, Any], tmp_path: Path, stop: Any) -> None:
    options = options | {"checkpoint_every": "epoch", "epochs": 4}
    if options["update"] != "mini-batch":
        options |= {"batch_size": None}
    whole = run(tmp_path, "whole", **options)
    for number in (0, whole.steps // 2, whole.steps - 1):
        stop(number)
        stopped = run(tmp_path, f"stopped-{number}", **options)
        assert stopped.exit_status == 130
        equal(whole, resume(stopped.folder, data=small_data()))


@pytest.mark.parametrize("task", ["classes", "regression"])
@pytest.mark.parametrize("number", range(0, 16, 3))
def test_from_every_place_in_an_epoch(task: str, number: int, tmp_path: Path, stop: Any) -> None:
    whole = run(tmp_path, "whole", task, epochs=4)
    stop(number)
    stopped = run(tmp_path, "stopped", task, epochs=4, checkpoint_every="epoch")
    assert f"after {number + 1} steps" in stopped.verdict_text, "the step under way is finished"
    watcher = Watcher()
    equal(whole, resume_watched("stopped", watcher, runs=tmp_path, data=small_data(task)))
    assert watcher.warnings == []
    assert watcher.plan is not None
    assert watcher.plan.from_step == number + 1


ENGINES = [
    {"engine": engine, "update": update, "dtype": dtype, "check": check, **more}
    for (engine, update, dtype), (check, more) in zip(
        itertools.product(("fused", "compiled"), ("batch", "stochastic", "mini-batch"), ("float32", "float64")),
        itertools.cycle(
            [
                ("epoch", {"l2": 0.01}),
                ("off", {"checkpoint_every": 5}),
                ("epoch", {"log_every": 2}),
                ("off", {"checkpoint_every": 3}),
                ("epoch", {"checkpoint_every": 7}),
            ]
        ),
    )
]


@pytest.mark.parametrize("options", spread(ENGINES, 3), ids=lambda options: "-".join(str(v) for v in options.values()))
def test_every_engine(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its epochs are cut into other spans, and from the middle of one."""
    if options["engine"] == "compiled":
        pytest.importorskip("numba")
    options = {
        "epochs": 3,
        "checkpoint_every": "epoch",
        "batch_size": 8 if options["update"] == "mini-batch" else None,
    } | options
    whole = run(tmp_path, "whole", **options)
    assert whole.config.engine == options["engine"]
    take, started = EngineSteps.take, EngineSteps.__init__
    for number in sorted({0, whole.steps // 2, whole.steps - 2}):

        def stopped(steps: EngineSteps, step: Step, *rest: Any, number: int = number, **more: Any) -> None:
            if number == step.number:
                signal.raise_signal(signal.SIGINT)
            take(steps, step, *rest, **more)

        def short(steps: EngineSteps, *given: Any) -> None:
            started(steps, *given)
            steps.span = 1

        with monkeypatch.context() as patch:
            patch.setattr("compare.run.engine_steps.SHORT", 0.0)  # spans stay short, so that a signal is seen
            patch.setattr(EngineSteps, "__init__", short)
            patch.setattr(EngineSteps, "take", stopped)
            first = run(tmp_path, f"stopped-{number}", **options)
        assert first.exit_status == 130, first.verdict_text
        assert first.steps == number + 1
        watcher = Watcher()
        again = resume_watched(first.folder.name, watcher, runs=tmp_path, data=small_data())
        assert watcher.warnings == []
        equal(whole, again)


def test_stopped_again_and_again(tmp_path: Path, stop: Any) -> None:
    whole = run(tmp_path, "whole")
    stop(2)
    run(tmp_path, "a")
    for number in (3, 7, 8, 15):
        stop(number)
        result = resume_watched("a", Watcher(), runs=tmp_path, data=small_data())
        assert result.exit_status == 130
    equal(whole, resume("a", runs=tmp_path, data=small_data()))


def test_looking_now_and_then(tmp_path: Path, stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA, where steps are taken ahead of what is known of them."""
    init = Steps.__init__
    monkeypatch.setattr(Steps, "__init__", lambda steps, pair, names, **_: init(steps, pair, names, read_every=4))
    whole = run(tmp_path, "whole", update="stochastic", batch_size=None, activation="gelu")
    stop(44)
    run(tmp_path, "a", update="stochastic", batch_size=None, activation="gelu", checkpoint_every=7)
    equal(whole, resume("a", runs=tmp_path, data=small_data()))


def test_a_run_that_has_ended_gives_its_result_again(tmp_path: Path) -> None:
    whole = run(tmp_path, "a", patience=1, lr=3.0)
    files = {file: (whole.folder / file).read_bytes() for file in (METRICS, "text.jsonl", "timing.jsonl")}
    again = resume("a", runs=tmp_path, data=small_data())
    equal(whole, again)
    assert files == {file: (whole.folder / file).read_bytes() for file in files}


def test_sigterm(tmp_path: Path, stop: Any) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # as the command does
    try:
        stop(6, signal.SIGTERM)
        assert run(tmp_path, "a").exit_status == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert checkpoint_steps(tmp_path / "a")[0] == 7


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), Stops() as stops:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert stops._asked == signal.SIGINT
        signal.raise_signal(signal.SIGINT)  # at once: the same request, as `timeout` makes it
        monkeypatch.setattr("compare.run.stops.SAME", 0.0)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_are_left_alone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    found: list[Any] = []

    def enter() -> None:
        with Stops():
            found.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL if number == signal.SIGTERM else before[0])
    with Stops():
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGTERM) is before[1], "SIGTERM is the system's: nothing here to take over"


# --- what a run is continued with ------------------------------------------------------------------------------------


def test_other_data_are_refused(tmp_path: Path) -> None:
    run(tmp_path, "a")
    other = small_data()
    other.x_train[0, 0] += 1e-12
    with pytest.raises(ValueError, match=r"the data are not those that this run was trained on \(SHA-256\); bring"):
        resume("a", runs=tmp_path, data=other)
    with pytest.raises(ValueError, match=r"its data from Python .* compare.resume\('a', data=...\)"):
        resume("a", runs=tmp_path)


def test_a_file_that_has_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},{i * i % 7},{i % 2}" for i in range(20)]
    Path("d.csv").write_text("a,b,y\n" + "\n".join(rows) + "\n")
    options = config(tmp_path, data="d.csv", target="y", name="a", epochs=2, batch_size=4)
    execute(options, Watcher())
    assert resume("a", runs=tmp_path).exit_status == 0
    Path("d.csv").write_text("a,b,y\n" + "\n".join(rows[::-1]) + "\n")
    with pytest.raises(ValueError, match="not those that this run was trained on"):
        resume("a", runs=tmp_path)
    Path("d.csv").unlink()
    with pytest.raises(ValueError, match=r"d\.csv: no such file"):
        resume("a", runs=tmp_path)


def test_a_layer_of_ones_own(tmp_path: Path, stop: Any) -> None:
    own = spoiled(mbp.Sigmoid, lambda p, c, da, right: right)
    net = mbp.Sequential([mbp.Linear(5, 3), own, mbp.Linear(3, 1)])
    whole = execute(config(tmp_path, name="whole", epochs=3), Watcher(), net=net, data=small_data())
    stop(5)
    execute(config(tmp_path, name="a", epochs=3), Watcher(), net=net, data=small_data())
    with pytest.raises(ValueError, match=r"its net from Python .*MySigmoid.*never imports"):
        resume("a", runs=tmp_path, data=small_data())
    wrong = mbp.Sequential([mbp.Linear(5, 4), own, mbp.Linear(4, 1)])
    with pytest.raises(ValueError, match=r"the network is 5-4-1.*the run's was 5-3-1"):
        resume("a", runs=tmp_path, net=wrong, data=small_data())
    equal(whole, resume("a", runs=tmp_path, net=net, data=small_data()))


def test_a_layer_that_draws_from_torchs_generator(tmp_path: Path, stop: Any) -> None:
    def noisy(p: Any, c: Any, da: torch.Tensor, right: Any) -> Any:
        torch.rand(3)
        return right

    net = mbp.Sequential([mbp.Linear(5, 3), spoiled(mbp.Tanh, noisy), mbp.Linear(3, 1)])
    torch.manual_seed(5)
    execute(config(tmp_path, name="whole", epochs=3), Watcher(), net=net, data=small_data())
    after = torch.rand(4)
    torch.manual_seed(5)
    stop(5)
    execute(config(tmp_path, name="a", epochs=3), Watcher(), net=net, data=small_data())
    torch.manual_seed(99)
    resume("a", runs=tmp_path, net=net, data=small_data())
    assert torch.equal(torch.rand(4), after)


def test_another_machine_is_told_before_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "a")
    told: list[str] = []
    monkeypatch.setattr("compare.run.start.machine", lambda engine, device: {"engine": engine, "device": "cpu"} | NOW)
    monkeypatch.setattr(Start, "checked", lambda start, about: told.append("went on") or start.record)
    watcher = Watcher()
    watcher.warned = told.append  # type: ignore[method-assign]
    resume_watched("a", watcher, runs=tmp_path, data=small_data())
    assert told[0].startswith("bits may differ from a run without a stop: processor was ")
    assert "is Another CPU" in told[0]
    assert told[1] == "went on"


NOW = {"processor": "Another CPU", "instructions": "AVX9", "torch": "3.0", "numpy": "3.0", "threads": 1}


def test_threads_are_those_of_the_run(tmp_path: Path, stop: Any) -> None:
    stop(3)
    run(tmp_path, "a", threads=None)
    then, seen = torch.get_num_threads(), []
    take = Loop.run

    def watched(loop: Loop, *args: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return take(loop, *args, **options)

    torch.set_num_threads(then + 1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "run", watched)
            resume("a", runs=tmp_path, data=small_data())
    finally:
        torch.set_num_threads(then)
    assert seen == [then]


# --- the state before a failure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_every", [1, 5])
@pytest.mark.parametrize("number", [0, 4, 6])
def test_the_state_before_a_wrong_step_is_kept(
    number: int, read_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run whose mistake has been mended goes on from it, as if it had never been there."""
    whole = run(tmp_path, "whole")
    init = Steps.__init__
    monkeypatch.setattr(
        Steps, "__init__", lambda steps, pair, names, **_: init(steps, pair, names, read_every=read_every)
    )
    for name, factor, status in (("wrong", 1.001, 1), ("diverged", float("nan"), 4)):
        with monkeypatch.context() as broken:
            _spoil_from(broken, number, factor, both=status == 4)
            failed = run(tmp_path, name, checkpoint_every="epoch")
        assert failed.exit_status == status
        assert f"at step {number}" in failed.verdict_text
        assert checkpoint_steps(failed.folder)[0] == number
        equal(whole, resume(failed.folder, data=small_data()))
        assert not (failed.folder / "mismatch").exists()


def _spoil_from(patch: pytest.MonkeyPatch, number: int, factor: float, *, both: bool) -> None:
    """From a step on, the hand-written gradient of the first parameter is off; for NaN, its input is too."""
    from compare.run.pair import Pair

    evaluate, manual, at = Steps._evaluate, Pair._manual_at, {"step": -1}

    def evaluated(steps: Steps, step: Step) -> Any:
        at["step"] = step.number
        if both and step.number >= number:
            nan = torch.full_like(step.part.x, factor)
            step = dataclasses.replace(step, part=dataclasses.replace(step.part, x=nan))
        return evaluate(steps, step)

    def spoilt(pair: Pair, params: Any, part: Any) -> Any:
        J, gradients = manual(pair, params, part)
        first = next(iter(gradients))
        if at["step"] >= number:
            gradients[first] = gradients[first] * factor
        return J, gradients

    patch.setattr(Steps, "_evaluate", evaluated)
    if both:
        examine = Steps.examine

        def examined(steps: Steps, step: Step, *args: Any) -> None:
            nan = torch.full_like(step.part.x, factor)
            examine(steps, dataclasses.replace(step, part=dataclasses.replace(step.part, x=nan)), *args)

        patch.setattr(Steps, "examine", examined)
    else:
        patch.setattr(Pair, "_manual_at", spoilt)


def test_a_state_that_is_not_finite_pushes_out_none(tmp_path: Path) -> None:
    result = run(tmp_path, "a", "regression", lr=1e200, checkpoint_every=1, epochs=3, activation="relu")
    assert result.exit_status == 4
    for step in checkpoint_steps(result.folder):
        from compare.run.checkpoint import load_checkpoint

        tensors = load_checkpoint(result.folder, step).tensors
        assert all(bool(t.isfinite().all()) for name, t in tensors.items() if name.startswith("parameter "))
    assert checkpoint_steps(result.folder)


# --- TensorBoard -----------------------------------------------------------------------------------------------------


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [
        (e.step, e.value) for e in EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload().Scalars(tag)
    ]


def test_no_point_is_doubled_or_missing(tmp_path: Path, stop: Any) -> None:
    whole = run(tmp_path, "whole", checkpoint_every="2 epochs")
    for number in (9, 14, 15):  # each time some points were drawn after the checkpoint
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("compare.run.keeper.Keeper.due", lambda keeper, loop: loop.done == 8)
            patch.setattr(Loop, "_pause", _killed_at(number, Loop._pause))
            with pytest.raises(SystemExit):
                run(tmp_path, f"a{number}")
        assert resume(f"a{number}", runs=tmp_path, data=small_data()).exit_status == 0
        for run_ in ("manual", "autograd"):
            for tag in ("loss/train", "loss/val"):
                assert points(tmp_path / f"a{number}" / run_, tag) == points(whole.folder / run_, tag)
        assert points(tmp_path / f"a{number}" / "gap", "gap/ulp largest") == points(
            whole.folder / "gap", "gap/ulp largest"
        )


def _killed_at(number: int, pause: Any) -> Any:
    def paused(loop: Loop, stops: Stops) -> None:
        if loop.done == number:
            raise SystemExit  # no checkpoint, no verdict
        pause(loop, stops)

    return paused


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_continued(tmp_path: Path) -> None:
    run(tmp_path, "off", checkpoint_every="off")
    with pytest.raises(ValueError, match=r"has no checkpoint \(--checkpoint-every off, .*--overwrite"):
        resume("off", runs=tmp_path)
    with pytest.raises(ValueError, match="no run 'of' there; did you mean off"):
        resume("of", runs=tmp_path)
    run(tmp_path, "a")
    for file in (tmp_path / "a" / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    watcher = Watcher()
    with pytest.raises(ValueError, match="none of its checkpoints is intact"):
        resume_watched("a", watcher, runs=tmp_path)
    assert len(watcher.warnings) == 3
    assert all("it cannot be used" in line and line.isprintable() for line in watcher.warnings)


def test_a_damaged_newest_is_told_and_the_one_before_it_used(tmp_path: Path) -> None:
    whole = run(tmp_path, "a", checkpoint_every="1 epoch")
    newest, *_ = checkpoint_steps(whole.folder)
    file = whole.folder / "checkpoints" / f"{newest:012d}.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    metrics = (whole.folder / METRICS).read_bytes()
    watcher = Watcher()
    again = resume_watched("a", watcher, runs=tmp_path, data=small_data())
    assert len(watcher.warnings) == 1
    assert (
        f"{newest:012d}.safetensors: its bytes are not those that were written (SHA-256); the one"
        in (watcher.warnings[0])
    )
    assert watcher.plan is not None
    assert watcher.plan.from_step == newest - 4
    assert (again.history, (whole.folder / METRICS).read_bytes()) == (whole.history, metrics)


def test_logs_that_lost_lines_are_told(tmp_path: Path, stop: Any) -> None:
    stop(14)
    stopped = run(tmp_path, "a")
    metrics = stopped.folder / METRICS
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[0] + lines[1].replace(b"0.", b"1.", 1) + lines[2][:40])
    watcher = Watcher()
    result = resume_watched("a", watcher, runs=tmp_path, data=small_data())
    assert result.exit_status == 3
    assert len(watcher.warnings) == 1
    assert "before the checkpoint; the logs are incomplete" in watcher.warnings[0]
    found = read_metrics(result.folder)
    assert [line["step"] for line in found] == [0, 4, 5]
    assert found.damaged == 1
    assert result.epochs == [0, 1, 2, 3, 4, 5], "the checkpoint has them"


@pytest.mark.parametrize("every", ["never", 0, -3, True, 1.5, "5 hours", "epochs 5", "", "٣"])
def test_rhythms_that_make_no_sense(every: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--checkpoint-every is "):
        config(tmp_path, checkpoint_every=every)


@pytest.mark.parametrize(
    ("every", "steps"), [(3, [20, 18, 15]), ("6", [20, 18, 12]), ("2 epochs", [20, 16, 8]), ("off", [])]
)
def test_rhythms(every: Any, steps: list[int], tmp_path: Path) -> None:
    assert checkpoint_steps(run(tmp_path, "a", checkpoint_every=every).folder) == steps


def test_a_forged_checkpoint_leads_nowhere(tmp_path: Path) -> None:
    """Its checksums fit; its options, sizes and paths are an attacker's."""
    from compare.run.checkpoint import load_checkpoint, save_checkpoint

    folder = run(tmp_path, "a").folder
    good = load_checkpoint(folder, 20)

    def forged(**state: Any) -> str:
        save_checkpoint(folder, dataclasses.replace(good, state=good.state | state), keep=3)
        with pytest.raises(ValueError, match=r".") as caught:
            resume_watched("a", Watcher(), runs=tmp_path, data=small_data())
        assert str(caught.value).isprintable()
        return str(caught.value)

    about = json.loads(json.dumps(good.state["about"]))
    assert "not one that manualbp train wrote" in forged(about={})
    assert "unknown key" in forged(about=about | {"config": {"x\x1b": 1}})
    assert "--epochs is" in forged(about=about | {"config": about["config"] | {"epochs": "1e9"}})
    assert "not one of this network" in forged(agreement={})
    assert "not one of this network" in forged(tags={"manual": ["loss/none"], "autograd": [], "gap": []})
    assert "not one of this network" in forged(logs=[])
    # runs and name say nothing of where it writes
    elsewhere = about | {"config": about["config"] | {"runs": str(tmp_path / "else"), "name": "b", "overwrite": True}}
    save_checkpoint(folder, dataclasses.replace(good, state=good.state | {"about": elsewhere}), keep=3)
    assert resume_watched("a", Watcher(), runs=tmp_path, data=small_data()).folder == folder
    assert not (tmp_path / "else").exists()


def test_links_in_a_run_lead_nowhere(tmp_path: Path) -> None:
    folder = run(tmp_path, "a").folder
    (tmp_path / "mine").write_text("mine")
    (folder / "text.jsonl").unlink()
    (folder / "text.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="no run can be written there"):
        resume("a", runs=tmp_path, data=small_data())
    assert (tmp_path / "mine").read_text() == "mine"
    (folder / "text.jsonl").unlink()
    (folder / "checkpoints").rename(tmp_path / "others")
    (folder / "checkpoints").symlink_to(tmp_path / "others")
    with pytest.raises(ValueError, match="has no checkpoint"):
        resume("a", runs=tmp_path, data=small_data())
