"""The report as HTML and Markdown: the content of both templates, and how they are filled."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from device_profiles import DeviceProfile
from device_profiles import fallback
from reports._calibrated import calibrated_columns
from reports._calibrated import calibrated_lines
from reports._calibrated import calibrated_sentences
from reports._calibrated import read_calibrated
from reports._device import Fact
from reports._device import device_facts
from reports._device import error_lines
from reports._device import interval_statement
from reports._device import read_predictor
from reports._figures import interval
from reports._figures import milliseconds
from reports._figures import other_device_lines
from reports._figures import percent
from reports._figures import pick_lines
from reports._figures import quality_lines
from reports._other_devices import other_devices
from reports._plot import pareto_svg
from reports._results import ReportedPick
from reports._results import Results
from reports._ties import tied_front
from reports._ties import tied_picks
from reports._training import training_warning
from reports._verified import corrected_by
from reports._verified import predictions
from reports._verified import read_verified
from reports._verified_text import VERIFIED_COLUMNS
from reports._verified_text import verified_lines
from reports._verified_text import verified_sentences
from reports._verified_text import verified_warning
from reports._weights import STALE_MARK
from reports._weights import weight_warnings
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.quantities import is_latency
from subdit.core.quantities import limit_text
from subdit.core.quantities import noun
from subdit.space import run_space

UNKNOWN = "unknown"

PAGE_PICTURE_PX = 350
"""Width of a sheet of samples on the page."""


def render_html(results: Results, profile: DeviceProfile | None) -> str:
    """The page; needs no other file and no network."""
    samples = [(pick, *_embedded(pick.samples)) for pick in results.picks if pick.samples is not None]
    mark = latency_mark(provenance_of(results, profile)[0])
    plot = Markup(pareto_svg(results, quality_unit=quality_unit(results), mark=mark))
    content = _content(results, profile) | {"plot": plot, "samples": samples, "html": True}
    return _template("report.html.j2", autoescape=True).render(content)


def _embedded(path: Path) -> tuple[str, bool]:
    """A PNG as a data URI, and whether it is small enough to be drawn with its pixels showing."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise RunError(f"The picture {path} is damaged (not a PNG); delete it and draw the samples again.")
    return "data:image/png;base64," + base64.b64encode(data).decode(), int.from_bytes(data[16:20]) < PAGE_PICTURE_PX


def render_markdown(results: Results, profile: DeviceProfile | None) -> str:
    """The same in Markdown, beside pareto.png."""
    return _template("report.md.j2", autoescape=False).render(**_content(results, profile), html=False)


def title(results: Results) -> str:
    """The title of the report and of the picture."""
    of = f", {STALE_MARK}" if results.stale else ""
    return f"Sub-DiTs of {results.config['space']} on {device_id(results)}{of}"


def latency_mark(provenance: str) -> str:
    """The mark of every page, picture and table whose latencies were not measured; empty where they were."""
    return {
        "estimated": "estimated latency, not measured",
        "reported": "reported latency, not measured here",
    }.get(provenance, "")


def device_id(results: Results) -> str:
    return str(results.config.get("device", UNKNOWN))


def quality_unit(results: Results) -> str:
    """What the values of the search's quality proxy are, in words."""
    return str(results.config["proxies"][results.quality].get("unit", noun(results.quality)))


def _template(name: str, *, autoescape: bool) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"zip": zip, "milliseconds": milliseconds, "percent": percent}
    environment.globals |= {"interval": interval}
    return environment.get_template(name)


def _content(results: Results, profile: DeviceProfile | None) -> dict[str, Any]:
    provenance, noisy = provenance_of(results, profile)
    verified = read_verified(results)
    calibrated = read_calibrated(results)
    predictor = None if profile is None else read_predictor(profile)
    # Latencies of a profile that the search did not go by do not stand beside the search's.
    others = other_devices(results, None if profile is None or _differs(results, profile) else profile)
    return {
        "title": title(results),
        "supernet": results.made_from,
        "results": results,
        "device": device_id(results),
        "provenance": provenance,
        "mark": latency_mark(provenance),
        "corrected": corrected_by(results),
        "verified": verified,
        "verified_columns": VERIFIED_COLUMNS,
        "verified_lines": [] if verified is None else verified_lines(verified, results.config),
        "verified_sentences": [] if verified is None else verified_sentences(verified, results.config),
        "calibrated": calibrated,
        "calibrated_columns": () if calibrated is None else calibrated_columns(calibrated),
        "calibrated_lines": [] if calibrated is None else calibrated_lines(calibrated),
        "calibrated_sentences": [] if calibrated is None else calibrated_sentences(calibrated),
        "warnings": _warnings(results, profile, provenance, noisy),
        "facts": _search_facts(results),
        "quality": noun(results.quality),
        "quality_unit": quality_unit(results),
        "beats_in": _objectives(results),
        "pick_lines": pick_lines(results.picks, results.quality),
        "tied_front": tied_front(results),
        "tied_picks": tied_picks(results),
        "quality_lines": quality_lines(results.picks) if any(pick.quality for pick in results.picks) else [],
        "others": others,
        "other_device_lines": other_device_lines(others),
        "device_facts": [] if profile is None else device_facts(profile),
        "errors": [] if predictor is None else error_lines(predictor),
        "predictor": predictor,
        "interval_statement": (
            "" if profile is None or corrected_by(results) else interval_statement(profile, results.front)
        ),
        "any_measured": any(pick.measured is not None for pick in results.picks),
        "commands": _commands(results),
    }


def provenance_of(results: Results, profile: DeviceProfile | None) -> tuple[str, bool]:
    """Where latencies are from, and whether they are noisy: as the search saw it, else as the profile says."""
    facts = results.config.get("device_facts")
    facts = facts if isinstance(facts, dict) else {}
    provenance = facts.get("provenance", UNKNOWN if profile is None else profile.provenance)
    return str(provenance), bool(facts.get("noisy", profile is not None and profile.noisy))


def _warnings(results: Results, profile: DeviceProfile | None, provenance: str, noisy: bool) -> list[str]:
    warnings = [*weight_warnings(results), *filter(None, (training_warning(results),))]
    verified = read_verified(results)
    if verified is not None and (doubted := verified_warning(verified)):
        warnings.append(doubted)
    if noisy:
        warnings.append(
            "The device was too noisy while it was measured: read every latency as rough, and measure again when it is "
            "quiet."
        )
    facts = results.config.get("device_facts")
    known = facts.get("fallback") if isinstance(facts, dict) else None
    if (missed := known or (None if profile is None else fallback(profile))) is not None:
        warnings.append(f"Latencies are of a mixture: {missed}.")
    if provenance == "estimated":
        warnings.append("The component latencies are estimated; none was measured on this device.")
    if provenance == "reported":
        warnings.append("The component latencies were reported by another tool; subdit did not measure them itself.")
    if profile is not None and _differs(results, profile):
        warnings.append(
            f"The profile {profile.id} is not the one that the search went by: it was measured again, or the space or "
            "the way to predict has changed. The latencies here are the search's; search again for the new ones."
        )
    if profile is None:
        warnings.append(
            f"The profile {device_id(results)} is not in this machine's registry, so its conditions and its errors are "
            "not shown."
        )
    return warnings


def _differs(results: Results, profile: DeviceProfile) -> bool:
    """Whether the profile predicts other latencies for the front than the search found."""
    space = run_space(results.run)
    try:
        predicted = predictions(results, profile).estimate(space.encode(trial.spec for trial in results.front))
    except ProfileError:
        return True
    return not np.allclose(predicted.latency_ms, [trial.latency_ms for trial in results.front], rtol=1e-5, atol=0.0)


def _search_facts(results: Results) -> list[Fact]:
    config = results.config
    space = run_space(results.run)
    limits = [limit_text(name, limit) for name, limit in config["constraints"].items()]
    facts = [
        Fact("search space", f"{space.name}, {space.size:,} sub-DiTs"),
        Fact("evaluated", f"{len(results.trials):,} sub-DiTs, {len(results.front)} on the front"),
        Fact("limits", "; ".join(limits) or "none"),
    ]
    facts += [Fact("run", str(results.run.path)), Fact("search", results.search)]
    if "seed" in config:
        facts.append(Fact("seed", str(config["seed"])))
    if "subdit_version" in config:
        facts.append(Fact("subdit", str(config["subdit_version"])))
    return facts


def _objectives(results: Results) -> str:
    """The objectives that points of the front are compared in, in words."""
    said = [("predicted " if is_latency(name) else "") + noun(name) for name in results.config["objectives"]]
    return ("both " if len(said) == 2 else "all of ") + ", ".join(said[:-1]) + f" and {said[-1]}"


def _commands(results: Results) -> list[Fact]:
    """Commands to run next, in order, for a pick that is not distilled yet: the balanced one if possible."""
    run = shlex.quote(str(results.run.path))
    search = "" if results.search == "default" else f" --search {shlex.quote(results.search)}"
    order = sorted(results.picks, key=lambda pick: "balanced" not in pick.names)
    plain = [pick for pick in order if not (_folder(results, pick) / "distilled" / "config.json").exists()]
    chosen = (plain or order)[0]
    name = shlex.quote("balanced" if "balanced" in chosen.names else chosen.names[0])
    model = _folder(results, chosen) / "exports" / "dit.onnx"
    force = " --force" if model.exists() else ""
    prompt = shlex.quote(run_space(results.run).example_prompt)
    facts = [Fact("distill a pick to four steps", f"subdit distill {run} --pick {name}{search}")] if plain else []
    return [
        *facts,
        Fact("export it", f"subdit export {run} --pick {name}{search}{force}"),
        Fact("draw with it", f"subdit sample {shlex.quote(str(model))} --prompt {prompt}"),
        Fact("write this report again", f"subdit report {run}{search} --force"),
    ]


def _folder(results: Results, pick: ReportedPick) -> Path:
    return results.run.pick(pick.trial.spec.hash)
