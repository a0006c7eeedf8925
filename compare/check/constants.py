"""The few constants of the check, each with the experiment that set it. Users set none of them.

The experiments are the corpus (tests/derivations) and benchmarks/sensitivity.py.
"""

from __future__ import annotations

# Runs of Monte Carlo arithmetic behind a floor. The largest of three changes, pooled with a quarter of the RMS of
# row and column, already bounds every right derivation of the corpus; more runs only cost time.
PROBES = 3

# An entry is right while its error stays below this many floors. The worst right entry of the corpus's correct
# derivations and controls lies well below; one entry off by 1e-11 of a 1000 x 1000 gradient lies above.
THRESHOLD = 12.0

# Share of the RMS spread of an entry's row and column that its own floor is at least: with three runs an entry's
# own spread is 0 by luck in about 2 of 10,000 entries of a float64 gradient.
POOL = 0.25

# An entry is blind where its allowance (threshold times floor) exceeds this share of its slice's RMS value:
# there a mistake of a tenth of a percent would pass for rounding.
BLIND = 1e-3

# Precision: the RMS error of a slice may be this many times the larger of the twin's own error and the floor.
# A valid reordering reaches 2.1.
PRECISION = 4.0

# What all entries of a gradient share of their error may be this many times the largest that noise made in the probes.
# It is a mean over entries, without tails: the largest of three draws is below a sixth of its deviation once in 400.
SHARED = 6.0

# Constants (1/m, a scale) that a right backward may have rounded to the dtype, each by half a unit in the last place
# and all in the same direction: the factor by which all entries may be off together.
CONSTANTS = 8

# Conditions that have to fail until no further one is tried: a wrong derivation is then blamed on its right step in a
# fourth of the time that all conditions take. The fourth is that with zeros and ties, where a second mistake (a mask,
# a branch) may be the only one to show. (benchmarks/results/check_corpus.md says at which value it was measured.)
ENOUGH = 4

# The last so many of them must have shown no further wrong quantity: a second mistake is often one of a regime.
UNCHANGED = 2
