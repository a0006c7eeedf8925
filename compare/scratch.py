"""The temporary directory of a child."""

from __future__ import annotations

import contextlib
import os
import secrets


def remove(folder: str) -> None:
    """Removes `folder` and what is in it, however deep its folders are nested and whatever their permissions.

    Each folder's own folders are moved up to the top before it is removed: every path stays short, and there is no
    recursion (`shutil.rmtree` fails at a depth of about 1,000). What the system refuses to remove, a mount for example,
    is left there.
    """
    with contextlib.suppress(OSError):
        while entries := list(os.scandir(folder)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for below in list(os.scandir(entry.path)):
                    if below.is_dir(follow_symlinks=False):
                        os.chmod(below.path, 0o700)
                        os.rename(below.path, os.path.join(folder, secrets.token_hex(16)))
                    else:
                        os.unlink(below.path)
                os.rmdir(entry.path)
        os.rmdir(folder)
