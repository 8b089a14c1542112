"""Writes the shipped device profiles that nobody measured here: one reported, one estimated, each with its source.

    python benchmarks/unmeasured_profiles.py

The reported ones hold what the SnapGen++ paper says of its models on a phone; the estimated one is an analytic roofline
of a named device. Their provenance says so, and every table and plot repeats it. Overwrites the files in
device_profiles/shipped/; the result is the same every time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import WholeLatency
from device_profiles import save_profile
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_flops
from subdit.space import component_params
from subdit.space import get_space

SHIPPED = Path(__file__).parents[1] / "device_profiles" / "shipped"
NO_KIT = "0" * 16

# SnapGen++, arXiv 2601.08303v2, table of 28-step models: milliseconds per forward at 1024 pixels on an iPhone 16 Pro
# Max. That `full` runs there with weights of 4 bits (k-means, 4.3 bits in the mean) is in the text; of the numbers that
# tiny and small are stored and computed in, nothing is. The decoder's 120 ms are in the supplement.
REPORTED_MS = {"unstated": {"tiny": 280.0, "small": 360.0}, "palette4": {"full": 1580.0}}
DECODER_MS = 120.0
REPORTED_SOURCE = (
    "SnapGen++ (arXiv 2601.08303v2), milliseconds of one forward at 1024 pixels on an iPhone 16 Pro Max, exported by "
    "CoreML; not measured here. Threads and intervals are not published: t1 and the empty intervals say nothing. The "
    "specs are this project's reading of the paper's models: layer counts and widths are not published, the parameters "
    "in all agree. Not stored: the totals of 4 steps that the paper gives (1.2, 1.8 "
    "and 6.7 s), which are no sum of a step, the decoder and a text encoder of known latency, and its ablation, whose "
    "models are in no space."
)

# Raspberry Pi 5, product brief (Raspberry Pi Ltd, 2023): BCM2712, four Cortex-A76 at 2.4 GHz, LPDDR4X-4267; its
# announcement (raspberrypi.com, 28 September 2023): a 32-bit memory subsystem.
CLOCK_HZ = 2.4e9
BYTES_PER_SECOND = 4267e6 * 32 / 8
# Cortex-A76 Software Optimization Guide (Arm, version 8.0): vector FMLA runs on both pipelines V0 and V1, one each per
# cycle; 128 bits are four float32 numbers, and a multiply-add is two operations.
FLOPS_PER_SECOND = CLOCK_HZ * 2 * 4 * 2
ROOFLINE_SOURCE = (
    "Analytic roofline, nothing measured: of each component the longer of FLOPs over 38.4 GFLOP/s, which one "
    "Cortex-A76 at 2.4 GHz peaks at (two 128-bit multiply-adds a cycle), and of weights, input and output in float32 "
    "over 17.1 GB/s (32-bit LPDDR4X-4267). A lower bound, with no account of caches, elementwise work or a runtime's "
    "own cost; how far real latency is above it is not known, so its intervals are empty. Figures: Raspberry Pi 5 "
    "product brief, Arm Cortex-A76 Software Optimization Guide; made by benchmarks/unmeasured_profiles.py."
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    options = parser.parse_args(arguments)
    for profile in (*reported(), roofline(get_space("mobile-1k"))):
        name = f"{profile.id.replace('/', '--')}--{profile.space}.json"
        print(save_profile(profile, options.out / name, force=True))


def reported() -> list[DeviceProfile]:
    """The paper's points, those of one precision in one profile."""
    space = get_space("paper")
    return [
        DeviceProfile(
            device="iphone-16-pro-max",
            runtime="coreml",
            precision=precision,
            threads=1,
            space=space.name,
            kit_hash=NO_KIT,
            provenance="reported",
            noisy=False,
            components={},
            conditions=_conditions("iPhone 16 Pro Max", cores=0, at="2026-01, publication"),
            source=REPORTED_SOURCE,
            pipeline={"decoder": exactly(DECODER_MS)},
            whole=tuple(WholeLatency(space.named_spec(name), exactly(ms)) for name, ms in points.items()),
        )
        for precision, points in REPORTED_MS.items()
    ]


def roofline(space: SearchSpace) -> DeviceProfile:
    """The estimated one."""
    return DeviceProfile(
        device="raspberry-pi-5",
        runtime="roofline",
        precision="fp32",
        threads=1,
        space=space.name,
        kit_hash=NO_KIT,
        provenance="estimated",
        noisy=False,
        components={one.name: exactly(roofline_ms(space, one)) for one in all_components(space)},
        conditions=_conditions("Raspberry Pi 5", cores=4, at="never", cpu="Broadcom BCM2712, Arm Cortex-A76 2.4 GHz"),
        source=ROOFLINE_SOURCE,
    )


def roofline_ms(space: SearchSpace, component: Component) -> float:
    """The longer of computing and moving."""
    numbers = component_params(space, component) + sum(tokens_of(space, component))
    computing = component_flops(space, component) / FLOPS_PER_SECOND
    return 1e3 * max(computing, 4 * numbers / BYTES_PER_SECOND)


def tokens_of(space: SearchSpace, component: Component) -> tuple[int, int]:
    """Numbers that a component must read and write at least, besides its weights."""
    tokens = component.grid**2 * component.width
    latent = space.latent_size**2 * space.latent_channels
    text = space.text_tokens * space.text_width
    match component.kind:
        case "patch_embed":
            return latent, tokens
        case "final_layer":
            return tokens, latent
        case "time_embed":
            return 1, 8 * component.width
        case "text_projection":
            return sum(each.tokens * each.width for each in space.text_inputs), text
        case "cross_attention":
            return tokens + text, tokens
        case "downsample":
            return tokens, tokens // 4
        case "upsample":
            return tokens, 4 * tokens
        case "skip_fusion":
            return 2 * tokens, tokens
    return tokens, tokens


def exactly(ms: float) -> Latency:
    """A latency of which no interval is known."""
    return Latency(ms, ms, ms)


def _conditions(machine: str, *, cores: int, at: str, cpu: str = "") -> Conditions:
    nothing = {"os": "", "runtime_version": "", "python_version": ""}
    return Conditions(machine=machine, cpu=cpu, cores=cores, measured_at=at, model=machine, **nothing)


if __name__ == "__main__":
    main()
