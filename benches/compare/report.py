"""The results as text: a line on the terminal, a page, and the README's table between its two markers."""

import json
import statistics
import sys

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

BUSY = (
    " **The machine was busy with other work (load average up to {:.1f}; the comparison itself makes 2): every time is too long, and "
    "peers that wait for both threads at a barrier suffer most, so the ratios favour us where the peer is multithreaded.**"
)


def number(value):
    """Three significant digits, without an exponent where it reads well."""
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        digits = f"{value:.3g}"
        return digits if "e" not in digits else f"{value:.0f}"
    return f"{value:.2e}"


def seconds(value, unit):
    """A time in its own unit: `0.0123 s per pass` as `12.3 ms per pass`."""
    if unit.split()[0] == "s" and value < 0.1:
        return f"{number(1e3 * value)} m{unit}"
    return f"{number(value)} {unit}"


def figures(result):
    """Ours and the peer's as text: the median of the repetitions, or all numbers where there is no peer."""
    if not result["peer"]:
        return " · ".join(number(v) for v in result["ours"]) + f" {result['unit']}", ""
    mine, theirs = (seconds(statistics.median(result[side]), result["unit"]) for side in ("ours", "theirs"))
    told = [text if result.get(key, True) else f"not reached in {text}" for text, key in ((mine, "reached"), (theirs, "peer_reached"))]
    return told[0], told[1]


def verdict(result):
    ratio = "" if result["ratio"] is None else f"{'< ' if not result['reached'] else '' if result.get('peer_reached', True) else '> '}{number(result['ratio'])} ×"
    if result["target"] is None or result["ratio"] is None:
        return ratio, ""
    return ratio, f"{number(result['target'])} × {'met' if result['meets_target'] else 'missed'}"


def line(result):
    mine, theirs = figures(result)
    ratio, target = verdict(result)
    peer = f" | {result['peer']}: {theirs} | {ratio} {target}" if result["peer"] else ""
    return f"{result['name']}: {mine}{peer}"


def table(results, with_target):
    target = " target |" if with_target else ""
    out = [f"| what | ours | peer | peer's | ratio |{target}", f"| --- | --- | --- | --- | --- |{' --- |' if with_target else ''}"]
    for result in results:
        mine, theirs = figures(result)
        ratio, reached = verdict(result)
        last = f" {reached} |" if with_target else ""
        out.append(f"| {result['name']} | {mine} | {result['peer']} | {theirs} | {ratio} |{last}")
    return "\n".join(out)


def hardware(record):
    about = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    return f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB; {about['rust']}; Python {about['python']}; {versions}"


def markdown(record):
    """The page of a run."""
    loads = record["machine"]
    busiest = max((r["load_after"] for r in record["results"]), default=0.0)
    parts = [
        "# Comparison with peers",
        "Medians of repetitions in which both sides ran alternately, on two threads each; the ratio is the median of each "
        "repetition's own ratio, and above one ours is better.",
        f"{hardware(record)}. Commit {loads['commit']}. Load average before: {loads['load_before'][0]:.2f}."
        + (BUSY.format(busiest) if busiest > 3.5 else "")
        + ("" if record["scale"] == 1.0 else f" **A trial at scale {record['scale']}: not a measurement.**"),
        table(record["results"], True),
        "## Is it fair?",
    ]
    said = {}
    for result in record["results"]:
        said.setdefault(result["fair"], []).append(f"{result['name']}" + (f" ({result['peer']})" if result["peer"] else ""))
    parts += ["\n".join(f"- {'; '.join(names)}: {sentence}" for sentence, names in said.items())]
    notes = [(r["name"], r["peer"], r["notes"]) for r in record["results"] if r["notes"]]
    if notes:
        parts += ["## Beside", "\n".join(f"- {name} {f'({peer})' if peer else ''}: `{json.dumps(note)}`" for name, peer, note in notes)]
    if record["not_run"]:
        parts += ["## Not run", "\n".join(f"- {name}: {why}" for name, why in record["not_run"].items())]
    return "\n\n".join(parts) + "\n"


def in_readme(result):
    """Whether the README's table has a row for it: what has a target, what has no peer, and what shows our weaker side."""
    return result["target"] is not None or not result["peer"] or result.get("shown", False)


def write_readme(readme, folder):
    """Writes the main rows of a run between the README's markers."""
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = readme.read_text(encoding="utf-8")
    before, opened, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not opened or not closed:
        print(f"{readme} has no {BEGIN} … {END}: the table stands in {folder / 'results.md'} only", file=sys.stderr)
        return 2
    busiest = max((r["load_after"] for r in record["results"]), default=0.0)
    busy = BUSY.format(busiest) if busiest > 3.5 else ""
    shown = [result for result in record["results"] if in_readme(result)]
    page = f"benches/runs/{folder.name}/results.md"
    more = f"All {len(record['results'])} rows, the other variants of each peer among them, stand in [{page}]({page})."
    body = f"\n\n{table(shown, True)}\n\n{hardware(record)}; two threads each. {more}{busy}\n\n"
    readme.write_text(before + opened + body + closed + after, encoding="utf-8")
    return 0
