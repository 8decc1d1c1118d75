"""Runs one of our engines as a process and reads what it leaves: times per iteration, ELBO, memory, wall time."""

import csv
import dataclasses
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path


@dataclasses.dataclass
class Run:
    wall_seconds: float
    summary: dict
    iterations: list  # of (iteration, seconds, elbo)
    peak_bytes: dict  # of VmRSS, RssAnon, RssFile
    folder: Path

    def seconds_per_iteration(self):
        """Mean over all iterations but the first, which initialisation and loading precede."""
        if len(self.iterations) < 2:
            raise RuntimeError(f"{self.summary['model']} stopped after one iteration: there is no time per iteration")
        (first, begin, _), (last, end, _) = self.iterations[0], self.iterations[-1]
        return (end - begin) / (last - first)

    def posterior(self):
        return json.loads((self.folder / "posterior.json").read_text(encoding="utf-8"))


def run(engine, model, *options, threads=2, iterations=None):
    """Fits `model` and returns a [`Run`]; exit status 1 (the iterations did not suffice to converge) is expected here."""
    folder = Path(tempfile.mkdtemp(prefix=f"{Path(model).stem}-", dir=Path(model).parent))
    command = [Path(os.environ["PEERS_BINARIES"]) / engine, "run", model, "--output", folder]
    command += ["--quiet", "--no-plot", "--threads", threads, *options]
    if iterations is not None:
        command += ["--max-iterations", iterations]
    begin = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = {"VmRSS": 0, "RssAnon": 0, "RssFile": 0}
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, finished))
    watcher.start()
    _, errors = process.communicate()
    wall = time.perf_counter() - begin
    finished.set()
    watcher.join()
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(map(str, command))} ended with status {process.returncode}:\n{errors}")
    with open(folder / "elbo.csv", encoding="utf-8", newline="") as file:
        rows = [(int(r["iteration"]), float(r["seconds"]), float(r["elbo"])) for r in csv.DictReader(file)]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Run(wall, summary, rows, peak, folder)


def _watch(pid, peak, finished):
    """Largest resident memory of a process, by kind: a mapped file counts as RssFile, what the program allocates as RssAnon."""
    while not finished.wait(0.01):
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            return
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if name in peak:
                peak[name] = max(peak[name], int(value.split()[0]) * 1024)
