"""A step of a variational auto-encoder against PyTorch: calls `vae_speed` and `benches/vae/pytorch_speed.py`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from result import Result, alternate


def run(context):
    example = Path(os.environ["PEERS_BINARIES"]) / "examples" / "vae_speed"
    script = context.root / "benches" / "vae" / "pytorch_speed.py"

    def mine():
        out = subprocess.run([example, "128", "2", "300"], check=True, capture_output=True, text=True).stdout
        return float(re.search(r"([\d.]+) steps", out).group(1))

    def theirs():
        command = [sys.executable, str(script), "--threads", "2", "--no-compile"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(out.splitlines()[-1])["steps_per_second"]

    ours_, peer = alternate(context.repetitions, mine, theirs)
    yield Result(
        "Training step of a Bernoulli VAE, 784-400-20-400-784, batch of 128, Adam",
        "steps per second",
        ours_,
        "PyTorch, eager, fused Adam",
        peer,
        lower_is_better=False,
        target=2.0,
        fair="Fair: the same network, batch, optimiser, f32 and threads; PyTorch eager, as it is run without torch.compile.",
    )
