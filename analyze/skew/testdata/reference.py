# Reference values for the tests, by scipy and numpy: an implementation that shares no code with ours. Reads one JSON
# object from standard input and writes one to standard output.
import itertools
import json
import math
import sys

import numpy as np
from scipy import stats

asked = json.load(sys.stdin)
out = {"counts": [], "tails": [], "intervals": [], "quantiles": [], "tables": [], "binomialRanges": []}


def exact(counts):
    """p of X2, of the largest and of the smallest count, by all outcomes of the multinomial distribution."""
    n, total = len(counts), sum(counts)
    expected = total / n
    law = stats.multinomial(total, [1 / n] * n)
    seen = [sum((x - expected) ** 2 for x in counts), max(counts), min(counts)]
    p = [0.0, 0.0, 0.0]
    for head in itertools.product(range(total + 1), repeat=n - 1):
        last = total - sum(head)
        if last < 0:
            continue
        outcome = list(head) + [last]
        mass = law.pmf(outcome)
        if sum((x - expected) ** 2 for x in outcome) >= seen[0] * (1 - 1e-9):
            p[0] += mass
        if max(outcome) >= seen[1]:
            p[1] += mass
        if min(outcome) <= seen[2]:
            p[2] += mass
    return p


for counts in asked["counts"]:
    x = np.array(counts, dtype=float)
    n, total = len(x), x.sum()
    chi2, p = stats.chisquare(x)
    g, gp = stats.power_divergence(x, lambda_="log-likelihood")
    shares = x / total
    out["counts"].append({
        "chi2": chi2, "chi2P": p, "g": g, "gP": gp,
        "gini": float(np.abs(x[:, None] - x[None, :]).sum() / (2 * n * total)),
        "effective": math.exp(stats.entropy(shares)),
        "cv": float(stats.variation(x)),
        "jain": float(total ** 2 / (n * (x ** 2).sum())),
        "exact": exact(counts) if n <= 3 and total <= 30 else None,
    })
for k, n, p in asked["tails"]:
    out["tails"].append([float(stats.binom.sf(k - 1, n, p)), float(stats.binom.cdf(k, n, p))])
for k, n, level in asked["intervals"]:
    # binomtest(...).proportion_ci finds the same ends with an absolute tolerance only.
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    out["intervals"].append([low, high])
for q, df in asked["quantiles"]:
    out["quantiles"].append(float(stats.chi2.ppf(q, df)))
for before, after in asked["tables"]:
    chi2, p, df, _ = stats.chi2_contingency([before, after], correction=False)
    out["tables"].append([chi2, p, df])
for n, p, level in asked["binomialRanges"]:
    out["binomialRanges"].append([int(v) for v in stats.binom.interval(level, n, p)])
json.dump(out, sys.stdout)
