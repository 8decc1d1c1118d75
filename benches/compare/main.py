"""Runs the comparisons, and writes results.json, results.md and the README's table."""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import networks
import report

ROOT = Path(__file__).resolve().parents[2]
# Name on the command line → module and function.
COMPARISONS = {
    "mixture": ("mixture", "run"),
    "scaling": ("mixture", "run_scaling"),
    "chain": ("chain", "run"),
    "topics": ("topics", "run"),
    "ridge": ("ridge", "run"),
    "conjugate": ("conjugate", "run"),
    "stochastic": ("stochastic", "run"),
    "accuracy": ("accuracy", "run"),
    "networks": ("networks", "run"),
}
PEERS = ("numpy", "scipy", "scikit-learn", "hmmlearn", "gensim", "bayespy", "jax", "numpyro")


class Context:
    """What a comparison is given: a folder for its data, the sizes, the number of repetitions."""

    def __init__(self, folder, scale, repetitions):
        self.root, self.folder, self.scale, self.repetitions = ROOT, folder, scale, repetitions

    def size(self, number):
        """A number of rows, scaled."""
        return max(100, round(number * self.scale))

    def model(self, name):
        """The benchmark's model file, beside the data."""
        target = self.folder / f"{name}.toml"
        shutil.copy(ROOT / "benches" / "models" / target.name, target)
        return target


def machine():
    """Hardware and versions."""
    fields = dict(line.split(":", 1) for line in subprocess.check_output(["lscpu"], text=True).splitlines() if ":" in line)
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    versions["torch"] = networks.torch_version()
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": fields["Model name"].strip(),
        "processor_family_model": f"{fields['CPU family'].strip()}/{fields['Model'].strip()}",
        "avx512": "avx512f" in fields.get("Flags", ""),
        "cores": os.cpu_count(),
        "l2_cache": fields.get("L2 cache", "").strip(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rust": subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.strip(),
        "commit": commit.stdout.strip(),
        "versions": versions,
        "load_before": os.getloadavg(),
    }


def main():
    parser = argparse.ArgumentParser(prog="benches/peers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS), help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of rows; other than 1 it is only a trial")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benches/runs/<date>-<machine>, for a trial a temporary folder")
    parser.add_argument("--table", type=Path, metavar="RUN", help="only write the README's table from this run's results.json")
    arguments = parser.parse_args()
    if arguments.table:
        return report.write_readme(ROOT / "README.md", arguments.table)
    about = machine()
    record = {"machine": about, "scale": arguments.scale, "threads": 2, "repetitions": arguments.repetitions, "results": [], "not_run": {}}
    kind = re.sub(r"\(\w+\)|[^a-z0-9]+", "-", about["processor"].lower()).strip("-")
    name = f"{datetime.date.today():%Y-%m-%d}-{re.sub('-+', '-', kind)}-{about['cores']}-cores"
    default = ROOT / "benches" / "runs" / name if arguments.scale == 1.0 else Path(tempfile.mkdtemp(prefix="peers-"))
    output = arguments.output or default
    output.mkdir(parents=True, exist_ok=True)
    earlier = output / "results.json"
    if set(arguments.only) != set(COMPARISONS) and earlier.exists():
        # A part measured again takes the place of that part; the rest stays, each result with its commit.
        kept = json.loads(earlier.read_text(encoding="utf-8"))
        record["results"] = [r for r in kept["results"] if r["comparison"] not in arguments.only]
        record["not_run"] = {name: why for name, why in kept["not_run"].items() if name not in arguments.only}
    for chosen in arguments.only:
        module, function = COMPARISONS[chosen]
        begin = time.perf_counter()
        if chosen == "networks" and about["versions"]["torch"] is None:
            record["not_run"][chosen] = f"{networks.PYTHON} has no torch"
            continue
        with tempfile.TemporaryDirectory(prefix="peers-data-") as folder:
            context = Context(Path(folder), arguments.scale, arguments.repetitions)
            try:
                for result in getattr(importlib.import_module(module), function)(context):
                    record["results"].append({"comparison": chosen, **result.as_json(), "load_after": os.getloadavg()[0], "commit": about["commit"]})
                    print(report.line(record["results"][-1]), flush=True)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                record["not_run"][chosen] = str(error)
                print(f"{chosen}: {error}", file=sys.stderr, flush=True)
        print(f"({chosen}: {time.perf_counter() - begin:.0f} s)", file=sys.stderr, flush=True)
        record["machine"]["load_after"] = os.getloadavg()
        (output / "results.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (output / "results.md").write_text(report.markdown(record), encoding="utf-8")
    print(output)
    if arguments.scale == 1.0 and set(arguments.only) == set(COMPARISONS):
        report.write_readme(ROOT / "README.md", output)
    return 1 if set(record["not_run"]) - {"networks"} else 0


if __name__ == "__main__":
    sys.exit(main())
