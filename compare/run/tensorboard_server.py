"""TensorBoard's server as a child of `manualbp board`, which runs this file as a script.

`tensorboard_server.py LOGDIR PORT LOAD_FAST` serves on localhost only, prints `serving PORT`, and ends when its
standard input does: so it never outlives its parent, however that one ended. Port 0 is 6006 or the next free one.
The script imports nothing of this project, so no file of the user's can come in its way.
"""

from __future__ import annotations

import sys
from urllib.parse import urlsplit


def main(logdir: str, port: int, load_fast: str) -> None:
    """Serve `logdir` until standard input ends."""
    from tensorboard import default, program

    # the static plugins: the projector, which is a dynamic one, reads any file that a log names
    tensorboard = program.TensorBoard(plugins=default.get_static_plugins())
    tensorboard.configure(logdir=logdir, host="localhost", port=port or None, load_fast=load_fast)
    try:
        address = tensorboard.launch()
    except program.TensorBoardServerException as error:
        sys.exit(error.msg)
    print("serving", urlsplit(address).port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
