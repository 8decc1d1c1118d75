"""A step of a variational auto-encoder against PyTorch: calls `vae_speed` and `benches/vae/pytorch_speed.py`."""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from result import Result, alternate

# A Python with torch, where that is not the one with the other peers.
PYTHON = os.environ.get("PEERS_TORCH_PYTHON", sys.executable)
# Rows of a batch, steps timed, and how many times as many steps per second as PyTorch's best are aimed at.
BATCHES = ((128, 300, 2.0), (1024, 60, 1.3))
# What PyTorch is run as: its name for people, the script's word, threads.
VARIANTS = (
    ("eager, fused Adam, 1 thread", "eager", 1),
    ("eager, fused Adam, 2 threads", "eager", 2),
    ("torch.compile, fused Adam, 1 thread", "compiled", 1),
    ("torch.compile, fused Adam, 2 threads", "compiled", 2),
)
FAIR = (
    "Fair: the same network, batch, optimiser and f32, images of one kind on both sides (binary, a fifth of the pixels on, as in "
    "handwriting), compilation and first steps left out; each variant of PyTorch is a process of its own, and the target is against "
    "the fastest of the four. Ours passes over pixels that are zero, PyTorch takes as long whatever they are."
)
FAIR_INVERTED = "Fair: as above with on and off swapped on our side, so that few pixels are zero; PyTorch takes as long whatever they are."


def torch_version():
    """The version of torch, None where there is none."""
    found = subprocess.run([PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


# Runs a command and says the largest resident set of its process in KiB. It stands between because a process counts as its own what the
# one that started it held, and this one holds the peers.
SMALL_PARENT = (
    "import os, subprocess, sys; process = subprocess.Popen(sys.argv[1:]); status, usage = os.wait4(process.pid, 0)[1:]; "
    "print(usage.ru_maxrss); sys.exit(os.waitstatus_to_exitcode(status))"
)


def measured(command, threads):
    """The output of a process and its largest resident set in MiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    words = [sys.executable, "-S", "-c", SMALL_PARENT, *map(str, command)]
    process = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with status {process.returncode}")
    *out, kibibytes = process.stdout.splitlines()
    return "\n".join(out), int(kibibytes) / 1024


def run(context):
    example = Path(os.environ["PEERS_BINARIES"]) / "examples" / "vae_speed"
    script = context.root / "benches" / "vae" / "pytorch_speed.py"
    memory = {}
    for batch, steps, target in BATCHES:

        def mine(threads, *words):
            def once():
                out, mebibytes = measured([example, batch, threads, steps, *words], threads)
                memory.setdefault(("ours", batch, threads, *words), []).append(mebibytes)
                return float(re.search(r"([\d.]+) steps", out).group(1))

            return once

        def theirs(word, threads):
            def once():
                command = [PYTHON, script, "--batch", batch, "--steps", steps, "--threads", threads, "--variants", word]
                out, mebibytes = measured(command, threads)
                memory.setdefault((word, batch, threads), []).append(mebibytes)
                return json.loads(out.splitlines()[-1])["steps_per_second"]

            return once

        peers = [theirs(word, threads) for _, word, threads in VARIANTS]
        two, one, inverted, *rates = alternate(context.repetitions, mine(2), mine(1), mine(2, "inverted"), *peers)
        fastest = max(range(len(VARIANTS)), key=lambda index: statistics.median(rates[index]))
        name = f"Training step of a Bernoulli VAE, 784-400-20-400-784, batch of {batch}, Adam"
        for index, ((label, _, threads), rate) in enumerate(zip(VARIANTS, rates, strict=True)):
            yield Result(
                f"{name}, 2 threads",
                "steps per second",
                two,
                f"PyTorch, {label}" + (", its fastest" if index == fastest else ""),
                rate,
                lower_is_better=False,
                target=target if index == fastest else None,
                fair=FAIR,
            )
            if threads == 1:
                yield Result(
                    f"{name}, 1 thread", "steps per second", one, f"PyTorch, {label}", rate, lower_is_better=False, fair=FAIR
                )
        label, word, threads = VARIANTS[fastest]
        yield Result(
            f"{name}, 2 threads, inverted images (few pixels are zero)",
            "steps per second",
            inverted,
            f"PyTorch, {label}, its fastest",
            rates[fastest],
            lower_is_better=False,
            fair=FAIR_INVERTED,
            shown=True,
        )
        yield Result(
            f"Training that auto-encoder, batch of {batch}: largest resident memory of the process",
            "MiB",
            memory["ours", batch, 2],
            f"PyTorch, {label}, its fastest",
            memory[word, batch, threads],
            target=5.0,
            fair="Fair: whole processes, each with its data of 2048 images; most of PyTorch's is its own code.",
        )
