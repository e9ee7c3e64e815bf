"""Trainings: the judge of what softmax does to learning, tried on planted faults and on theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contexts import MakeContext

from harness.experiments.profiles import SMOKE
from harness.experiments.runner import Progress, Request, run
from harness.experiments.training import network, trainer
from harness.experiments.training.head import Head, onsets
from harness.experiments.training.network import Data, Optimiser, train
from harness.experiments.training.plan import GRIDS, QUESTIONS, Asked, plan
from harness.records import TrainingRecord
from harness.records.reader import Run, cell_key
from harness.records.training import Setting
from harness.worker.local import load
from harness.workloads.digits import HELD_OUT, pixels_and_labels

Write = Callable[[str, str], Path]
SHORT = Setting(epochs=2)
MAX = float(np.finfo(np.float32).max)
NO_CROSS_TERM = """e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

def softmax_backward(grad, y, axis=-1):
    return grad * y * (1 - y)"""
NO_TARGET = """e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

def cross_entropy(logits, targets):
    p = softmax(logits)
    return -np.log(p[np.arange(len(p)), targets]), p"""
HALF_SUM = """e = np.exp((x - x.max(axis=axis, keepdims=True)).astype(np.float16))
    return (e / e.sum(axis=axis, keepdims=True, dtype=np.float16)).astype(x.dtype)"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> Data:
    images, labels = pixels_and_labels()
    return Data((images / 16).astype(np.float32), labels, HELD_OUT)


def trained(
    data: Data, what: str | Path, setting: Setting = SHORT, dtype: str = "float32", seed: int = 0
) -> dict[str, Any]:
    head = Head(load(what), dtype, setting.loss, setting.smoothing)
    return train(data, head, setting, seed)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_steps_are_those_of_torch(name: str) -> None:
    setting = Setting(optimiser=name, rate=0.01)
    ours, theirs = (network.network(setting, 64, seed=3) for _ in range(2))
    of_torch = torch.optim.Adam if name == "adam" else torch.optim.SGD
    steps = Optimiser(ours, setting), of_torch(theirs.parameters(), lr=setting.rate)
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        for net, step in zip((ours, theirs), steps, strict=True):
            net.zero_grad()
            net(x).square().mean().backward()
            step.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=2e-5, atol=2e-6)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(data: Data) -> None:
    one, two, other = (trained(data, "max_shift", seed=seed) for seed in (5, 5, 6))
    assert one == two
    assert one["weights"] != other["weights"]
    assert one["accuracy"] > 0.7


def test_a_head_gives_the_loss_and_gradient_of_torch(data: Data) -> None:
    x, y = data.train[:50], data.labels[:50]
    net = network.network(SHORT, 64, seed=1)
    found = {}
    for what, setting in (("max_shift", SHORT), ("scipy", SHORT), ("numba_loop", SHORT),
                          ("torch", Setting(loss="own"))):  # fmt: skip
        head = Head(load(what), "float64", setting.loss)
        net.zero_grad()
        loss = head.loss(net(x), y)
        loss.backward()
        found[head.route] = float(loss.detach()), [p.grad.clone() for p in net.parameters()]
    assert len(found) == 4  # four ways
    expected, gradients = found.pop("F.cross_entropy, differentiated by torch")
    for loss, others in found.values():
        assert loss == pytest.approx(expected, rel=1e-12)
        for g, h in zip(gradients, others, strict=True):
            torch.testing.assert_close(g, h, rtol=1e-5, atol=1e-7)


def test_smoothed_labels_are_those_of_torch(data: Data) -> None:
    z = torch.randn(40, 10, generator=torch.Generator().manual_seed(2), requires_grad=True)
    y = data.labels[:40]
    ours = Head(load("max_shift"), "float64", smoothing=0.1).loss(z, y)
    theirs = torch.nn.functional.cross_entropy(z.double(), y, label_smoothing=0.1)
    (expected,) = torch.autograd.grad(theirs, z)
    (gradient,) = torch.autograd.grad(ours, z)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


def test_a_jacobian_without_its_cross_term_harms(data: Data, plain_file: Write) -> None:
    squared = Setting(loss="squared")
    right = trained(data, "max_shift", squared)
    wrong = trained(data, plain_file("no_cross_term", NO_CROSS_TERM), squared)
    assert right["accuracy"] > 0.92 > 0.85 > wrong["accuracy"]


def test_a_gradient_that_forgets_the_target_learns_nothing(data: Data, plain_file: Write) -> None:
    assert trained(data, plain_file("no_target", NO_TARGET))["accuracy"] < 0.2


def test_a_sum_in_float16_harms_no_accuracy_and_collapses_where_float16_does(
    data: Data, plain_file: Write
) -> None:
    path = plain_file("half_sum", HALF_SUM)
    right, coarse = trained(data, "max_shift", Setting()), trained(data, path, Setting())
    assert abs(right["accuracy"] - coarse["accuracy"]) < 0.01
    long = Setting(batch=0, epochs=60, rate=0.01)
    assert trained(data, "max_shift", long)["zero_loss"] == 0.0
    found = trained(data, path, long)
    assert found["zero_loss"] > 0.1
    assert found["gap_collapsed"] == pytest.approx(-math.log(2.0**-11), abs=0.1)


@pytest.mark.parametrize(
    ("what", "dtype", "first"),
    [
        ("naive", "float32", (88.72283935546875, 103.97208404541016)),
        ("naive", "float16", (11.09375, 17.328125)),
        ("numba_loop", "float32", (MAX, 103.97208404541016)),  # -log p of a p that is 0
        ("max_shift", "float32", (MAX, 2.0**128)),
        ("max_shift", "float16", (65504.0, 65536.0)),  # the loss itself is beyond the format
    ],
)
def test_from_which_logit_and_gap_on_nothing_is_finite(
    what: str, dtype: str, first: tuple[float, float]
) -> None:
    assert onsets(Head(load(what), dtype), classes=10) == first


def test_a_training_ends_where_its_loss_is_not_finite_any_more(data: Data) -> None:
    growing = Setting(optimiser="sgd", rate=0.1, epochs=1, scale=100.0)
    found = train(data, Head(load("naive"), "float32"), growing, 0, threshold=True)
    assert found["first_nonfinite"] == found["steps"] + 1
    assert found["nonfinite"] in ("loss", "loss and gradient")
    assert found["logit_before"] < found["predicted"] <= found["logit_at"]
    whole = train(data, Head(load("max_shift"), "float32"), growing, 0, threshold=True)
    assert "first_nonfinite" not in whole
    assert whole["steps"] == 42


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_gradients_shrink_from_layer_to_layer_as_predicted(data: Data, activation: str) -> None:
    deep = Setting(hidden=(64,) * 7, activation=activation)
    found = network.depth(data, Head(load("max_shift"), "float32"), deep, 0)
    assert found["layer_factor"] == pytest.approx(found["predicted"], rel=0.08)
    assert [len(v) for v in found["curves"].values()] == [8, 8, 8]


def test_gradients_vanish_through_squared_error_where_predicted_and_never_by_cross_entropy(
    plain_file: Write,
) -> None:
    subject = load("max_shift")
    found = network.vanishing(Head(subject, "float32"), Head(subject, "float32", "squared"), 0)
    curves = found["curves"]
    assert not any(curves["cross_entropy_rows"])
    sure = np.array(curves["gap"])[np.array(curves["saturated"]) >= 0.5]
    assert sure[0] == pytest.approx(-math.log(2.0**-24) + math.log(9.0), abs=2.0)  # to each other
    at = np.array(curves["gap"])[np.array(curves["squared_rows"]) >= 0.5]
    assert at[0] == pytest.approx(found["predicted"], abs=2.0)
    early = plain_file("early", "e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
                       "    e[e < 1e-10] = 0\n"
                       "    return e / e.sum(axis=axis, keepdims=True)")  # fmt: skip
    heads = Head(load(early), "float32"), Head(load(early), "float32", "squared")
    curves = network.vanishing(*heads, 0)["curves"]
    at = np.array(curves["gap"])[np.array(curves["squared_rows"]) >= 0.5]
    assert at[0] == pytest.approx(-math.log(1e-10), abs=2.0)


def test_clipping_after_the_step_changes_no_bit_and_before_it_does(data: Data) -> None:
    base = Setting(optimiser="sgd", rate=0.1, epochs=1)
    ways = {clip: trained(data, "max_shift", base.model_copy(update={"clip": clip, "limit": 1e-3}))
            for clip in ("none", "after", "elements", "norm")}  # fmt: skip
    assert ways["none"]["weights"] == ways["after"]["weights"]
    assert len({w["weights"] for w in ways.values()}) == 3


def test_the_length_of_a_spiked_step_grows_with_the_spike(data: Data) -> None:
    lengths = []
    for spike in (10.0, 100.0):
        setting = Setting(optimiser="sgd", rate=0.1, epochs=2, spike=spike)
        lengths.append(trained(data, "max_shift", setting)["spike_ratio"])
    assert lengths[1] == pytest.approx(10.0 * lengths[0], rel=1e-3)  # linear in the step


def test_calibration_of_a_sure_and_wrong_network_is_its_confidence() -> None:
    class Sure(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 50.0 * torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10)

    labels = np.array([0, 0, 1, 1], np.int64)
    four = Data(np.zeros((8, 64), np.float32), np.concatenate([labels, labels]), 4)
    found = network.evaluate(Sure(), four)  # type: ignore[arg-type]
    assert found["accuracy"] == 0.5
    assert found["calibration_error"] == pytest.approx(0.5, abs=1e-9)
    assert found["loss"] == pytest.approx(25.0, abs=1e-6)


def tiny(**changes: Any) -> Asked:
    return Asked(grid="smoke", dtypes=("float32",), seeds=1, **changes)


def cells(context: Any, asked: Asked) -> list[TrainingRecord]:
    return [r for unit in plan(context, asked) for r in unit.measure()]  # type: ignore[misc]


def test_a_unit_for_each_question_and_every_cell_once(make_context: MakeContext) -> None:
    context = make_context(["max_shift", "torch"])
    units = list(plan(context, tiny()))
    keys = [key for unit in units for key in unit.keys]
    assert len(keys) == len(set(keys))
    assert {c.kind for u in units for c in u.coordinates} == set(QUESTIONS)  # type: ignore[attr-defined]
    assert [u.timed for u in units if "cost" in u.label] == [True, True]
    found = cells(context, tiny(questions=("depth",)))  # no question of the implementation
    assert {(c.implementation, c.status) for c in found} == {("max_shift", "ok")}


def test_faults_of_an_implementation_are_records(
    make_context: MakeContext, plain_file: Write
) -> None:
    context = make_context([
        plain_file("not_a_number", "return np.full_like(x, np.nan)"),
        plain_file("dies", "os.abort()"),
        plain_file("other_shape", "return np.ones(3, x.dtype)"),
        plain_file("raises", "raise RuntimeError('no')"),
    ])  # fmt: skip
    found = {c.implementation: c for c in cells(context, tiny(questions=("digits",)))}
    assert found["not_a_number"].status == "failed"
    assert "not finite at step 1" in str(found["not_a_number"].reason)
    assert found["not_a_number"].loss is not None  # of the weights that it began with
    assert found["dies"].status == "crashed"
    assert {found["other_shape"].status, found["raises"].status} == {"error"}
    assert all(c.reason for c in found.values())


def test_what_an_implementation_lacks_is_unsupported(
    make_context: MakeContext, tmp_path: Path
) -> None:
    path = tmp_path / "loss_alone.py"
    path.write_text(
        "import numpy as np\n\ndef cross_entropy(logits, targets):\n"
        "    m = logits.max(axis=-1, keepdims=True)\n"
        "    e = np.exp(logits - m)\n"
        "    p = e / e.sum(axis=-1, keepdims=True)\n"
        "    rows = np.arange(len(p))\n"
        "    losses = -np.log(p[rows, targets])\n"
        "    p[rows, targets] -= 1\n"
        "    return losses, p\n",
        encoding="utf-8",
    )
    found = cells(make_context([path]), tiny(questions=("digits", "vanishing", "collapse")))
    by = {(c.kind, bool(c.setting and c.setting.smoothing)): c for c in found}
    assert by["digits", False].status == by["collapse", False].status == "ok"
    for place in (("vanishing", False), ("collapse", True)):
        assert (by[place].status, by[place].reason) == ("unsupported", "offers no softmax")


def test_a_result_in_another_format_is_refused(
    make_context: MakeContext, plain_file: Write
) -> None:
    wide = plain_file("wide", "x = x.astype(np.float64)\n"
                      "    e = np.exp(x - x.max(axis=axis, keepdims=True))\n"
                      "    return e / e.sum(axis=axis, keepdims=True)")  # fmt: skip
    (found,) = cells(make_context([wide]), tiny(questions=("digits",)))
    assert found.status == "error"
    assert "expected shapes and formats" in str(found.reason)
    assert "float64" in str(found.reason)


def test_without_the_packages_each_cell_says_what_to_install(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"sklearn": None}
    monkeypatch.setattr(trainer, "find_module", lambda name: absent.get(name, name))
    found = cells(make_context(["max_shift"]), tiny(questions=("digits", "vanishing")))
    assert {c.status for c in found} == {"unavailable"}
    assert {c.reason for c in found} == {
        "package 'scikit-learn' is not installed; pip install 'softmax-bench[training]'"
    }


def test_what_was_interrupted_is_gone_on_with_to_the_same_numbers(tmp_path: Path) -> None:
    def request(name: str, **changes: Any) -> Request:
        asked = tiny(questions=("digits", "nonfinite", "depth"))
        return Request(
            implementations=[load("max_shift"), load("naive")],
            profile=replace(SMOKE, name="train", experiments=()), filters=asked,
            results=tmp_path / name, machine="box", command=["train"], ready=False,
            plan=lambda context: plan(context, asked), **changes,
        )  # fmt: skip

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    whole = run(request("whole"))
    folders: list[Path] = []
    with pytest.raises(KeyboardInterrupt):
        run(request("cut"), Progress(folder=folders.append, finished=interrupt))
    resumed = run(request("cut", resume=folders[0]))

    def numbers(found: Run) -> dict[str, Any]:
        return {cell_key(r): r.model_dump(exclude={"elapsed_s"}) for r in found.records}

    assert numbers(whole) == numbers(resumed)
    assert all(r.status == "ok" for r in whole.records)


@pytest.mark.parametrize("name", GRIDS)
def test_no_two_settings_of_a_grid_have_one_name(name: str) -> None:
    for kind in ("digits", "nonfinite", "depth", "collapse", "clipping"):
        settings = getattr(GRIDS[name], kind)
        assert len({s.id for s in settings}) == len(set(settings)) == len(settings)


def test_batches_are_another_order_each_epoch_and_all_rows_where_asked() -> None:
    setting = Setting(epochs=2, batch=32)
    made = list(network._batches(70, setting, 0))  # six rows are left out of each epoch
    assert [epoch for epoch, _ in made] == [0, 0, 1, 1]
    first, second = (torch.cat([b for e, b in made if e == k]).tolist() for k in (0, 1))
    assert len(set(first)) == len(set(second)) == 64
    assert first != second
    whole = list(network._batches(7, Setting(epochs=2, batch=0), 0))
    assert [b.tolist() for _, b in whole] == [list(range(7))] * 2
