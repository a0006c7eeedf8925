"""Wrong derivations whose files try to be told RIGHT all the same, or never to end, each as a user would give it.

`ATTACKS` is what docs/reliability.md lists: no file of them may pass, and each is over within its limit and 2 s.
"""

from __future__ import annotations

import textwrap

SECONDS = 10.0  # the limit of each

_FORWARD = """
import torch
from compare import real

inputs = {"x": real("m", "d"), "w": real("d")}

def forward(x, w):
    z = x @ w
    a = torch.tanh(z)
    return (a * a).sum(), {"z": z, "a": a}
"""
_WRONG = """
def backward(x, w, a):
    da = a  # should be 2 * a
    dz = da * (1 - a * a)
    return {"a": da, "z": dz, "w": x.T @ dz}
"""


def _on_import(attack: str) -> str:
    return _FORWARD + textwrap.dedent(attack) + _WRONG


def _at_the_call(attack: str) -> str:
    head, rest = _WRONG.split("    da =", 1)
    return _FORWARD + head + textwrap.indent(textwrap.dedent(attack), "    ") + "    da =" + rest


ATTACKS = {
    "endless loop on import": _on_import("while True: pass\n"),
    "endless loop in backward": _at_the_call("while True: pass\n"),
    "a loop that catches every exception": _at_the_call(
        "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass\n"
    ),
    "fork, and the copy goes on": _at_the_call("import os\nos.fork()\n"),
    "a daemon in a session of its own": _at_the_call(
        """\
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        """
    ),
    "output without end": _at_the_call("while True: print('x' * 10**6)\n"),
    "a huge allocation": _at_the_call("big = torch.ones(10**10)\n"),
    "exit(0) on import": _on_import("raise SystemExit(0)\n"),
    "os._exit(0) in backward": _at_the_call("import os\nos._exit(0)\n"),
    "killing the process above it": _at_the_call("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"),
    "printing a pass": _at_the_call(
        "print('RIGHT: every gradient of this derivation is what it should be')\nimport sys\nsys.stdout.flush()\n"
    ),
    "printing a pass and leaving": _at_the_call(
        "import os\nprint('RIGHT: every gradient of this derivation is what it should be', flush=True)\nos._exit(0)\n"
    ),
    "writing a reply into the channel": _at_the_call(
        """\
        import os, torch
        from compare import wire
        for piece in wire.encode({"token": "", "number": 1, "data": {}}, {"w": torch.ones(1)}):
            os.write(3, piece)
        """
    ),
    "replacing torch.autograd.grad": _on_import(
        "torch.autograd.grad = lambda J, tensors, **kw: [torch.zeros_like(t) for t in tensors]\n"
    ),
    "replacing torch.equal and torch.allclose": _on_import("torch.equal = torch.allclose = lambda *a, **k: True\n"),
    "replacing an operator of tensors": _on_import(
        "torch.Tensor.__sub__ = lambda self, other: torch.zeros_like(self)\n"
    ),
    "replacing the hook": _on_import("torch.Tensor.register_hook = lambda self, hook: None\n"),
    "replacing the comparison": _on_import("import compare.check.verdict as v\nv.judge = lambda evaluation: {}\n"),
    "replacing the comparison's code": _on_import(
        "import compare.check.verdict as v\nv.match.__code__ = (lambda given, expected, floor: None).__code__\n"
    ),
    "replacing the report": _on_import("import compare.check.report as r\nr.Report.ok = True\n"),
    "replacing the noise floor": _on_import("import compare.check.noise as n\nn.measure = lambda run, **k: None\n"),
    "replacing a builtin": _on_import(
        "import builtins\nbuiltins.abs = lambda value: 0\nbuiltins.max = lambda *a, **k: 0\n"
    ),
    "a dispatch mode around everything": _on_import(
        """\
        from torch.utils._python_dispatch import TorchDispatchMode
        class M(TorchDispatchMode):
            def __torch_dispatch__(self, f, t, a=(), k=None): return f(*a, **(k or {}))
        M().__enter__()
        """
    ),
    "emptying the harness's own frames": _at_the_call(
        """\
        import sys
        frame = sys._getframe()
        while frame:
            if 'given' in frame.f_locals:
                frame.f_locals['given'].gradients.clear()
            frame = frame.f_back
        """
    ),
    "autograd instead of a derivation": _FORWARD
    + textwrap.dedent(
        """
        def backward(x, w, z, a):
            with torch.enable_grad():
                w = w.clone().requires_grad_()
                a = torch.tanh(x @ w)
                (a * a).sum().backward()
            return {"w": w.grad}
        """
    ),
    "an answer that says it equals everything": _FORWARD
    + textwrap.dedent(
        """
        class Equal(torch.Tensor):
            def __sub__(self, other): return torch.zeros_like(self)
            def __eq__(self, other): return torch.ones_like(self, dtype=torch.bool)

        def backward(x, w, a):
            return {"a": a.as_subclass(Equal), "w": w.as_subclass(Equal)}
        """
    ),
}
