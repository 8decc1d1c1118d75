"""Runs `sgvi` on every problem in default settings and compares with the reference posteriors.

    python compare.py --sgvi PATH [--write results.md]

Full-rank; the largest difference of a mean in reference standard deviations, and the largest relative difference of a
standard deviation. A problem passes where these are below 0.1 and 10 %, or the verdict says that they may not be.
Needs nothing outside the standard library.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def flat(value):
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [value]


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sgvi", default="sgvi")
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    reference = json.loads((HERE / "reference.json").read_text())
    lines = [
        "| problem | numbers | mean, sd | sd, % | k̂ | verdict | CPU s | |",
        "|---|--:|--:|--:|--:|---|--:|---|",
    ]
    failures = 0
    for model in sorted((HERE / "models").glob("*.toml")):
        wanted = reference.get(model.stem)
        if wanted is None:
            lines.append(f"| {model.stem} | | | | | no reference | | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            before = processor_seconds()
            command = [arguments.sgvi, "run", str(model), "--quiet", "--no-plot", "--family", "full-rank", "--output", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            seconds = processor_seconds() - before
            if done.returncode not in (0, 1):
                lines.append(f"| {model.stem} | | | | | exit {done.returncode} | {seconds:.1f} | FAIL |")
                failures += 1
                continue
            posterior = json.loads((pathlib.Path(folder) / "posterior.json").read_text())
            summary = json.loads((pathlib.Path(folder) / "summary.json").read_text())
        shift, ratio, count = 0.0, 0.0, 0
        for name, entry in wanted.items():
            numbers = [flat(posterior[name]["mean"]), flat(posterior[name]["sd"]), flat(entry["mean"]), flat(entry["sd"])]
            for mean, sd, other, spread in zip(*numbers):
                shift, ratio, count = max(shift, abs(mean - other) / spread), max(ratio, abs(sd / spread - 1)), count + 1
        near = shift <= 0.1 and ratio <= 0.1
        good = near or summary["verdict"] != "good"
        failures += not good
        khat = "–" if summary["khat"] is None else f"{summary['khat']:.2f}"
        word = "pass" if near else "said" if good else "FAIL"
        lines.append(
            f"| {model.stem} | {count} | {shift:.3f} | {100 * ratio:.1f} | {khat} | {summary['verdict']} | {seconds:.1f} | {word} |"
        )
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        title = "# `sgvi` against long NUTS runs, full-rank, default settings\n\n"
        note = (
            "\n\n`pass`: every mean within 0.1 reference sd and every sd within 10 %; `said`: not so, and the verdict is not\n"
            "`good`. `numbers` is how many means and sds are compared, the next two columns are\n"
            "the largest differences; the time is that of the processors over the whole process.\n"
        )
        arguments.write.write_text(title + text + note)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
