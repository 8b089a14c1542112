"""subdit: hardware-aware architecture search and device profiling for diffusion transformers on phones."""

__version__ = "0.1.0"
