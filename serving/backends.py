"""What computes: ONNX Runtime on the CPU, or PyTorch on a GPU where the package holds its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.config import IsoFormerConfig
from model.errors import InputError
from model.onnx_backend import OnnxBackend
from model.predictor import Backend
from model.window_cache import WindowCache
from serving.memory import available_bytes, peak_growth_bytes
from serving.settings import Settings

ONNX, TORCH = "onnx", "torch"
WEIGHTS = "model*.safetensors*"


class ServingBackend(Backend, Protocol):
    """A backend that keeps window states."""

    cache: WindowCache


@dataclass(frozen=True)
class Memory:
    """Of the device that computes: by how much a run's peak stands above what is taken, and what is free (or None)."""

    peak_growth_bytes: Callable[[Callable[[], object]], int] = peak_growth_bytes
    available_bytes: Callable[[], int | None] = available_bytes


def open_backend(package: Path, config: IsoFormerConfig, settings: Settings) -> tuple[ServingBackend, Memory]:
    """The backend that the settings ask for; `InputError` where the package or this machine cannot."""
    if settings.backend == ONNX:
        cache_bytes = settings.window_cache_bytes
        return OnnxBackend(package / "model.onnx", config, settings.threads, cache_bytes=cache_bytes), Memory()
    if settings.backend != TORCH:
        raise InputError(
            where="ISOFORMER_SERVE_BACKEND",
            expected=f"{ONNX} or {TORCH}",
            found=settings.backend,
            fix="Correct the value.",
        )
    if not any(package.glob(WEIGHTS)):
        raise InputError(
            where=str(package),
            expected="PyTorch weights",
            found="an ONNX model alone",
            fix="Package with package.torch=true, or serve with --backend onnx.",
        )
    return _torch_backend(package, settings)


def _torch_backend(package: Path, settings: Settings) -> tuple[ServingBackend, Memory]:
    """On the first GPU; on the CPU where there is none, which is right and slower than ONNX Runtime."""
    try:
        import torch

        from model.torch_backend import TorchBackend
        from model.weights import load_model
    except ModuleNotFoundError as error:
        raise InputError(
            where="ISOFORMER_SERVE_BACKEND",
            expected="PyTorch, in the image that serves",
            found=f"no module {error.name}",
            fix="Serve in the package image, built with the CUDA build of torch; the serve image has none.",
        ) from None
    torch.set_num_threads(max(1, settings.threads))
    # Convolutions would round to TF32 on newer GPUs, a thousandth of a value: the golden answers allow a tenth of that.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backend = TorchBackend(load_model(package, device), device, cache_bytes=settings.window_cache_bytes)
    if device == "cpu":
        return backend, Memory()

    def grown(run: Callable[[], object]) -> int:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before

    def available() -> int:
        free, _ = torch.cuda.mem_get_info()
        # What PyTorch holds and does not use is free to it.
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()

    return backend, Memory(grown, available)
