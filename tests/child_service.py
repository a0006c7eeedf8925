"""Services for the tests of the child process."""

from compare.child import Refusal, load


class Runner:
    """Imports a user's file and calls a function of it."""

    def echo(self, data, tensors):
        return data, tensors

    def run(self, data, tensors):
        path, name = data if isinstance(data, list) else (data, "backward")
        module = load(path)
        result = getattr(module, name)(**tensors) if hasattr(module, name) else None
        return (None, result) if isinstance(result, dict) else (result, {})

    def raw(self, path, tensors):
        return load(path).backward(), tensors

    def refuse(self, data, tensors):
        raise Refusal("the derivation has no backward; define backward(...)")


class Broken:
    def __init__(self):
        raise RuntimeError("no service today")
