"""A step of a variational auto-encoder against PyTorch: calls `vae_speed` and `benches/vae/pytorch_speed.py`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from result import Result, alternate

# A Python with torch, where that is not the one with the other peers.
PYTHON = os.environ.get("PEERS_TORCH_PYTHON", sys.executable)


def torch_version():
    """The version of torch, None where there is none."""
    found = subprocess.run([PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def run(context):
    example = Path(os.environ["PEERS_BINARIES"]) / "examples" / "vae_speed"
    script = context.root / "benches" / "vae" / "pytorch_speed.py"

    def mine():
        out = subprocess.run([example, "128", "2", "300"], check=True, capture_output=True, text=True).stdout
        return float(re.search(r"([\d.]+) steps", out).group(1))

    def theirs():
        command = [PYTHON, str(script), "--threads", "2", "--no-compile"]
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
