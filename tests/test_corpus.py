"""The corpus says the truth about itself, judged apart from the check: plain autograd and a few hooks."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch

from compare.check.inputs import Spec
from tests.derivations import load, mlp_mistakes

CASES = load()
SCALES = (1.0, 0.7, 3.0, 30.0, 0.05)  # of real inputs; the second draw has a single sample where it can
SIZES = (3, 5, 4, 2, 6, 7, 8)


def size(dim, sizes):
    """The size of a dimension, or of an expression of dimensions such as "h*k"."""
    if isinstance(dim, int):
        return dim
    names = sorted({node.id for node in ast.walk(ast.parse(dim)) if isinstance(node, ast.Name)})
    for name in names:
        sizes.setdefault(name, SIZES[len(sizes)])
    return eval(dim, {}, sizes)


def draw(inputs, seed, scale=1.0, one_sample=False):
    """Values for the specifications; inputs that are tensors already stay as they are."""
    if callable(inputs):
        return inputs(seed)
    torch.manual_seed(seed)
    sizes = {"m": 1} if one_sample else {}
    drawn = {}
    for name, spec in inputs.items():
        if not isinstance(spec, Spec):
            drawn[name] = spec
            continue
        shape = tuple(size(dim, sizes) for dim in spec.dims)
        for _ in range(1000):
            if spec.kind == "constant":
                value = size(spec.value, sizes) if isinstance(spec.value, str) else spec.value
            elif spec.kind == "binary":
                value = torch.randint(0, 2, shape).double()
            elif spec.kind == "one_hot":
                value = torch.eye(shape[-1], dtype=torch.float64)[torch.randint(0, shape[-1], shape[:-1])]
            elif spec.kind == "index":
                value = torch.randint(0, size(spec.classes, sizes), shape)
            elif spec.kind == "permutation":
                value = torch.randperm(*shape)
            elif spec.kind == "probability":
                value = torch.softmax(torch.randn(shape, dtype=torch.float64), -1)
            elif spec.low is not None:
                value = spec.low + (spec.high - spec.low) * torch.rand(shape, dtype=torch.float64)
                value = value * (spec.scale if spec.kind == "positive" else 1)
            else:
                value = torch.randn(shape, dtype=torch.float64) * spec.scale * scale
            if spec.where is None or spec.where(value):
                break
        drawn[name] = value
    return drawn


def differs(given, truth, tolerance):
    """Whether a gradient has another shape, is not finite, or is off by more than tolerance times its largest."""
    given = torch.as_tensor(given)
    if given.shape != truth.shape or not torch.isfinite(given).all():
        return True
    return bool((given.double() - truth).abs().max() > tolerance * truth.abs().max() + 1e-300)


def judge(case, inputs, tolerance):
    """Names that are wrong globally, and names whose own step is wrong given the deltas it was handed."""
    leaves = {
        n: v.clone().requires_grad_() if torch.is_tensor(v) and v.is_floating_point() else v for n, v in inputs.items()
    }
    J, values = case.forward(**leaves)
    values = {**leaves, **values}
    floating = {n: v for n, v in values.items() if torch.is_tensor(v) and v.requires_grad}
    wanted = inspect.signature(case.backward).parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
    handed = {n: v for n, v in values.items() if everything or n in wanted}
    given = case.backward(**{n: v.detach().clone() if torch.is_tensor(v) else v for n, v in handed.items()})
    if "mean_in" in case.options:  # dZ = A - Y, 1/m in dW: the named axis counts the samples
        name, axis = case.options["mean_in"]
        m = inputs[name].shape[axis]
        given = {n: g if n in inputs else g / m for n, g in given.items()}
    truths = torch.autograd.grad(J, list(floating.values()), retain_graph=True, allow_unused=True)
    truth = {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(floating.items(), truths, strict=True)}
    assert set(given) <= set(truth), f"{case.name} returns {set(given) - set(truth)}, which J does not reach"
    for g in given.values():
        assert not (torch.is_tensor(g) and g.requires_grad)
    arrived, hooked = {}, set()

    def hook(name):
        def replace(grad):
            arrived[name] = grad.clone()
            mine = given.get(name)
            if mine is None or torch.as_tensor(mine).shape != grad.shape:
                return grad
            mine = torch.as_tensor(mine).double().clone()  # autograd may add into it in place
            return mine if torch.isfinite(mine).all() else grad

        return replace

    shared = {id(v): n for n, v in floating.items() if n in given}  # names that share a tensor share a hook
    for name, v in floating.items():
        if id(v) in hooked:
            continue
        hooked.add(id(v))
        v.register_hook(hook(shared.get(id(v), name)))
    J.backward()
    local = {n: arrived.get(shared[id(floating[n])]) for n in given}
    local = {n: torch.zeros_like(truth[n]) if g is None else g for n, g in local.items()}
    wrong = {n for n, g in given.items() if differs(g, truth[n], tolerance)}
    wrong_step = {n for n, g in given.items() if differs(g, local[n], tolerance)}
    if not all(torch.isfinite(torch.as_tensor(g)).all() for g in given.values()):
        wrong_step = set()  # an overflow: what follows from it says nothing about the steps
    return wrong, wrong_step, set(given), set(values)


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "correct"], ids=lambda c: c.name)
def test_correct_derivations_equal_autograd(case):
    rescaled = case.options.get("verdict") == "rescaled"
    for seed, scale in enumerate((1.0, 0.3, 2.0)):
        inputs = draw(case.inputs, seed, scale)
        wrong, local, given, _ = judge(case, inputs, 1e-9)
        if rescaled:
            assert wrong, "a rescaled derivation has deltas that differ"
            assert not wrong & set(inputs)
        else:
            assert not wrong
            assert not local
        floating = {n for n, v in inputs.items() if torch.is_tensor(v) and v.is_floating_point()}
        if seed == 0:
            parameters = {n for n in floating if n[0] in "WUV" or n in ("gamma", "beta")}
            assert parameters <= given, f"a correct derivation gives every parameter: {parameters - given}"


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "wrong" and c.cause], ids=lambda c: c.name)
def test_wrong_derivations_are_wrong_where_they_say(case):
    """Over a few draws, the quantities whose own step is wrong are exactly the steps that the case names."""
    found, anywhere = set(), set()
    tolerance = 1e-9 if case.options.get("imprecise") else 1e-7
    for seed, scale in enumerate(SCALES):
        inputs = draw(case.inputs, seed, scale, one_sample=seed == 1 and not case.options.get("whole_batch"))
        wrong, local, _, values = judge(case, inputs, tolerance)
        assert set(case.steps) <= values
        found |= local
        anywhere |= wrong
    assert anywhere, "equals autograd at every draw"
    assert found == set(case.steps)


HAND = [
    c for c in CASES if c.kind == "wrong" and c.cause and c.name.split("_")[0] in ("mlp", "blocks", "forum", "double")
]


def test_causes_are_few_and_listed():
    """Every cause of a mistake by hand stands in the list, and the list holds no other."""
    lines = mlp_mistakes.__doc__.partition("Options")[0].splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("    ")}
    assert {cause for case in HAND for cause in case.cause.split(" + ")} == listed
    assert len(listed) <= 40


def test_two_mistakes_have_two_steps():
    for case in HAND:
        if " + " in case.cause:
            assert len(case.steps) == len(case.cause.split(" + ")), case.name


def test_the_corpus_is_large_enough():
    assert len([c for c in CASES if c.kind == "correct"]) >= 30
    assert len(HAND) >= 120
    assert len([c for c in HAND if " + " in c.cause]) >= 25
