"""Processes of one training on one machine: forked, so that torch is imported once, and meeting in a file.

For a process of a test's own that has computed nothing yet: threads do not survive a fork.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist


def run_ranks(count: int, work: Callable[[int], None], *, may_fail: bool = False) -> list[int]:
    """Call `work(rank)` in so many processes of one gloo group, and return their exit codes.

    Raises `AssertionError` where one of them fails, unless it may.
    """
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(count):
            child = os.fork()
            if child == 0:
                os._exit(_run(rank, count, Path(folder) / "store", work))
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert may_fail or codes == [0] * count, f"exit codes of ranks: {codes}"
    return codes


def _run(rank: int, count: int, store: Path, work: Callable[[int], None]) -> int:
    try:
        torch.set_num_threads(1)
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
        dist.init_process_group("gloo", store=dist.FileStore(str(store), count), rank=rank, world_size=count)
        work(rank)
        dist.destroy_process_group()
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
