"""Which points of the front noise does not tell apart, in sentences; the search marked them."""

from __future__ import annotations

from reports._results import Results


def tied_front(results: Results) -> str:
    """What the letters mean, for below the table of the front; empty where there are none."""
    tied = sum(bool(trial.tie) for trial in results.front)
    if not tied:
        return ""
    return (
        f"Tie: {tied} of these {len(results.front)} sub-DiTs share a letter with neighbours; from the first of its "
        "letter each differs in no objective by more than noise (95 %), so which of them is better is not known."
    )


def tied_picks(results: Results) -> list[str]:
    """For each pick that shares a letter, with what; empty where the front has no ties."""
    if not any(trial.tie for trial in results.front):
        return []
    said = []
    for pick in results.picks:
        letter = pick.trial.tie
        if not letter:
            continue
        sharing = [trial for trial in results.front if trial.tie == letter and trial.spec != pick.trial.spec]
        named = [other.title for other in results.picks if other is not pick and other.trial.tie == letter]
        rest = len(sharing) - len(named)
        others = [f"the pick {name}" for name in named]
        if rest:
            others.append(f"{rest} {'other ' if named else ''}point{'' if rest == 1 else 's'} of the front")
        said.append(f"Noise does not tell the pick {pick.title} from {_listed(others)} (tie {letter}).")
    return said or ["Noise tells every pick from all other points of the front."]


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
