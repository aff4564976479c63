"""The shared kernel: errors, contracts, imaging, runtime, serving and telemetry."""
