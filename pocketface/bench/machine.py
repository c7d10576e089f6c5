"""What the device is, and whether it kept its pace: from /proc and /sys, without any tool.

Figures of a device that throttles say nothing about the software, so frequency and temperature are
read before and after.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pocketface.threads import usable_cpus
from pocketface.tuning import cpu_name

ROOT = Path("/")

# Instructions that decide which precision is fast, as /proc/cpuinfo names them.
FEATURES = {
    "asimddp": "int8 dot product",
    "i8mm": "int8 matrix product",
    "asimdhp": "fp16 arithmetic",
    "sve": "SVE",
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "int8 dot product (AVX)",
    "avx512_vnni": "int8 dot product (AVX-512)",
    "amx_int8": "int8 matrix product (AMX)",
}

# "CPU part" of implementer 0x41 (Arm); the technical reference manual of each core, MIDR_EL1.
ARM_CORES = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
}

PACKAGES = ("pocketface", "numpy", "Pillow", "onnxruntime", "ai-edge-litert", "tflite-runtime")

_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


@dataclass(frozen=True, slots=True)
class Readings:
    """The state of the processor at one moment; what the system does not tell is None or empty.

    Attributes:
        governor: of each frequency domain, such as ("ondemand",).
        mhz: current frequency of each domain.
        max_mhz: its highest.
        celsius: hottest thermal zone.
        throttled: bits of the Raspberry Pi's firmware (0: all well; 1: too little voltage, 2: capped,
            4: throttled, 8: soft temperature limit; shifted by 16: so since the start).
    """

    governor: tuple[str, ...]
    mhz: tuple[float, ...]
    max_mhz: tuple[float, ...]
    celsius: float | None
    throttled: int | None


def read(root: Path = ROOT) -> Readings:
    """Frequency, temperature and throttling now.

    Args:
        root: where `proc` and `sys` are mounted.
    """
    domains = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    celsius = [int(text) / 1000 for zone in zones if (text := _text(zone)).lstrip("-").isdigit()]
    throttled = _text(root / _THROTTLED)
    return Readings(
        governor=tuple(text for d in domains if (text := _text(d / "scaling_governor"))),
        mhz=tuple(int(text) / 1000 for d in domains if (text := _text(d / "scaling_cur_freq")).isdigit()),
        max_mhz=tuple(int(text) / 1000 for d in domains if (text := _text(d / "cpuinfo_max_freq")).isdigit()),
        celsius=max(celsius, default=None),
        throttled=int(throttled, 16) if throttled else None,
    )


def warnings(before: Readings, after: Readings) -> list[str]:
    """Why the figures may be worse than the device can do."""
    found = []
    if after.throttled is not None and after.throttled & 0xF:
        found.append(
            f"the firmware reports throttling (0x{after.throttled:x}): check power supply and cooling"
        )
    slow = [(now, top) for now, top in zip(after.mhz, after.max_mhz, strict=False) if now < 0.9 * top]
    if slow and len(slow) == len(after.mhz):
        now, top = slow[0]
        found.append(f"the processor ran at {now:.0f} of {top:.0f} MHz at the end: throttled or saving power")
    if "powersave" in after.governor:
        found.append("the frequency governor is 'powersave'; 'performance' gives the device's real speed")
    if before.celsius is not None and after.celsius is not None and after.celsius >= 80:
        found.append(
            f"{after.celsius:.0f} °C at the end ({before.celsius:.0f} °C before): cool it and repeat"
        )
    return found


def describe(root: Path = ROOT) -> dict[str, Any]:
    """Processor, features, memory, system and package versions, as plain values."""
    cpuinfo = _text(root / "proc/cpuinfo")
    flags = set()
    parts = []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("Features", "flags"):
            flags.update(value.split())
        elif key.strip() == "CPU part" and value.strip().startswith("0x"):
            parts.append(int(value, 16))
    return {
        "cpu": cpu_name(root / "proc/cpuinfo"),
        "board": _text(root / "proc/device-tree/model").rstrip("\0") or None,
        "cores": [ARM_CORES.get(part, hex(part)) for part in dict.fromkeys(parts)],
        "features": {name: meaning for name, meaning in FEATURES.items() if name in flags},
        "dot_product": bool(flags & {"asimddp", "avx_vnni", "avx512_vnni"}),
        "usable_cpus": usable_cpus(),
        "memory_mb": _memory_mb(root),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def as_dict(readings: Readings) -> dict[str, Any]:
    """Plain values for JSON."""
    return asdict(readings)


def _memory_mb(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(file: Path) -> str:
    """A file's text; "" where it is missing or, as often on Android, not to be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
