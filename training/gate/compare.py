"""Compare gates with mixes and cascades at equal certified accuracy, and check it on held-out samples.

Everything is read from one profile, whose bounds hold together at 0.95. For each floor, the cheapest mix of what each way of
choosing has: variants alone, with cascades, with the gate's network as one more variant, with the gate. Costs are those of
the profile. Writes results.json and the table between the markers of a document.
"""

import json
import math
import pathlib
import re
import sys

import numpy as np

from answers import session

FLOORS = (0.97, 0.98, 0.985, 0.99, 0.9925)
MISS = 0.05
GATE = "glance"


def lower(right, n, miss):
    """The Clopper-Pearson lower bound of a share."""
    if right == 0:
        return 0.0
    choose = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(right, n + 1)]
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        tail = sum(math.exp(c + i * math.log(p) + (n - i) * math.log1p(-p) if p < 1 else 0) for i, c in zip(range(right, n + 1), choose))
        low, high = (p, high) if tail < miss else (low, p)
    return low


def answers(package, profile):
    """Of each held-out sample: whether each variant is right, its confidence, and the gate's estimates."""
    samples = dict(np.load(package / "eval" / "heldout.npz"))
    right, sure, estimates = {}, {}, None
    for v in profile["variants"]:
        graph = session(package / "onnx" / f"{v['name']}.onnx")
        parts = [graph.run(None, {i.name: samples[i.name][at : at + 32] for i in graph.get_inputs()}) for at in range(0, len(samples["label"]), 32)]
        p = np.concatenate([x[0] for x in parts])
        right[v["name"]], sure[v["name"]] = p.argmax(1) == samples["label"], p.max(1)
        if v["name"] == GATE:
            estimates = np.concatenate([x[1] for x in parts])
    return right, sure, estimates


def points(profile, right, sure, estimates):
    """All points: kind, name, cost in ms, certified accuracy, and on which held-out samples each is right and what it costs there."""
    cost = {v["name"]: min(b["p50_ms"] / b["items"] for b in v["batches"]) for v in profile["variants"]}
    c, list_ = profile["cascades"], []
    for v in profile["variants"]:
        a, name = v["accuracy"], v["name"]
        list_.append({"kind": "network" if name == GATE else "variant", "name": name, "cost": cost[name],
                      "low": lower(a["correct"], a["samples"], MISS / 2 / len(profile["variants"])), "right": right[name]})
    for p in c.get("points", []):
        first, then, a = p["first"], p["then"], p["accuracy"]
        on = sure[first] < p["threshold"]
        list_.append({"kind": "network cascade" if GATE in (first, then) else "cascade", "name": f"{first}>{then}<{p['threshold']}",
                      "cost": cost[first] + p["went_on"] / a["samples"] * cost[then],
                      "low": lower(a["correct"], a["samples"], MISS / 2 / c["tested"]), "right": np.where(on, right[then], right[first])})
    for p in c.get("gates", []):
        a, ways = p["accuracy"], p["ways"]
        chosen = (estimates - np.array([w["penalty"] for w in ways])).argmax(1)
        list_.append({"kind": "gate", "name": f"{p['gate']}?{p['price']:g}",
                      "cost": cost[p["gate"]] + sum(w["items"] / a["samples"] * cost[w["variant"]] for w in ways if w["variant"] != p["gate"]),
                      "low": lower(a["correct"], a["samples"], MISS / 2 / c["tested"]),
                      "right": np.choose(chosen, [right[w["variant"]] for w in ways]), "ways": np.bincount(chosen, minlength=len(ways)).tolist()})
    return list_


def cheapest(list_, floor):
    """The cheapest mix of two points that is certified for a floor."""
    best = None
    for b in list_:
        for a in list_:
            if b["low"] < floor or (a is not b and a["low"] >= floor):
                continue
            w = 1.0 if a is b else (floor - a["low"]) / (b["low"] - a["low"])
            cost = w * b["cost"] + (1 - w) * a["cost"]
            if best is None or cost < best["cost"] - 1e-12:
                score = w * b["right"] + (1 - w) * a["right"]
                best = {"cost": round(cost, 4), "heldout": round(float(score.mean()), 4), "runs": {b["name"]: round(w, 3)} | ({a["name"]: round(1 - w, 3)} if w < 1 else {})}
    return best


WAYS = {"mixes": ("variant",), "cascades": ("variant", "cascade"), "network as a variant": ("variant", "cascade", "network", "network cascade"),
        "gate": ("variant", "network", "gate"), "all of them": ("variant", "cascade", "network", "network cascade", "gate")}


def table(results):
    rows = [["certified floor", *(f"{w}: ms" for w in WAYS), "gate against mixes", "against cascades", "held-out accuracy of the gate"], ["---"] * (len(WAYS) + 4)]
    for floor, by in results["floors"].items():
        told = [f"{by[w]['cost']:.3f}" if by[w] else "none" for w in WAYS]
        less = lambda other: f"{100 * (1 - by['gate']['cost'] / by[other]['cost']):+.0f} % saved" if by["gate"] and by[other] else ""
        rows.append([floor, *told, less("mixes"), less("cascades"), f"{by['gate']['heldout']:.4f}" if by["gate"] else ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(package, device, out, document=None):
    package = pathlib.Path(package)
    profile = json.loads((package / "profiles" / f"{device}.json").read_text())
    list_ = points(profile, *answers(package, profile))
    results = {"points": [{k: (round(v, 5) if isinstance(v, float) else v) for k, v in p.items() if k != "right"} | {"heldout": round(float(p["right"].mean()), 4)} for p in list_],
               "floors": {str(f): {w: cheapest([p for p in list_ if p["kind"] in kinds], f) for w, kinds in WAYS.items()} for f in FLOORS}}
    pathlib.Path(out).write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if document:
        text = pathlib.Path(document).read_text()
        marked = f"<!-- gate -->\n{table(results)}\n<!-- end of gate -->"
        pathlib.Path(document).write_text(re.sub(r"<!-- gate -->.*<!-- end of gate -->", lambda _: marked, text, flags=re.S))


if __name__ == "__main__":
    main(*sys.argv[1:])
