"""A few instants of kill9.py; the program itself does more."""
import os
import random

import kill9


def test_a_few_kills_lose_nothing_and_double_nothing(tmp_path):
    seed = int(os.environ.get("OPENPOOL_SEED", random.randrange(1 << 32)))
    figures, faults = kill9.run(tmp_path, int(os.environ.get("OPENPOOL_KILLS", "8")), seed)
    assert not faults, f"{figures}\n" + "\n".join(faults[:20])
