"""Requests at Poisson arrivals against one address, and what came of them, in an open loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Level:
    """One offered load: arrivals per second, latencies of the answers with status 200, statuses (0 = no answer)."""

    offered_per_s: float
    seconds: float
    latencies_s: np.ndarray
    statuses: Counter[int]

    @property
    def answered_per_s(self) -> float:
        """Good answers per second from the first arrival to the last answer."""
        return len(self.latencies_s) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Latency below which this share of the good answers came, infinite without one."""
        return float(np.quantile(self.latencies_s, share)) * 1e3 if len(self.latencies_s) else float("inf")

    def line(self) -> str:
        """For people."""
        others = {status: count for status, count in sorted(self.statuses.items()) if status != 200}
        return (
            f"offered {self.offered_per_s:6.1f}/s  answered {self.answered_per_s:6.1f}/s  "
            f"p50 {self.quantile_ms(0.5):7.0f} ms  p99 {self.quantile_ms(0.99):7.0f} ms"
            + (f"  other statuses {others}" if others else "")
        )


def offer(url: str, bodies: Sequence[bytes], rate_per_s: float, seconds: float, seed: int) -> Level:
    """Send `bodies` in turn for `seconds`, at Poisson arrivals of `rate_per_s`, and wait for every answer."""
    return asyncio.run(_offer(url, bodies, rate_per_s, seconds, seed))


async def _offer(url: str, bodies: Sequence[bytes], rate_per_s: float, seconds: float, seed: int) -> Level:
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate_per_s, int(rate_per_s * seconds * 2) + 20)
    arrivals = np.cumsum(gaps)
    arrivals = arrivals[arrivals < seconds]
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=2_000)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:
        await client.get(url.rsplit("/", 1)[0])  # a connection is open and the code is warm
        started = time.perf_counter()

        async def one(number: int, at: float) -> None:
            await asyncio.sleep(started + at - time.perf_counter())
            # From the planned arrival, so that a generator that lags does not flatter the server.
            begun = started + at
            try:
                headers = {"content-type": "application/json"}
                answer = await client.post(url, content=bodies[number % len(bodies)], headers=headers)
                status = answer.status_code
            except httpx.HTTPError:
                status = 0
            statuses[status] += 1
            if status == 200:
                latencies.append(time.perf_counter() - begun)

        await asyncio.gather(*(one(number, at) for number, at in enumerate(arrivals)))
        elapsed = time.perf_counter() - started
    return Level(offered_per_s=rate_per_s, seconds=elapsed, latencies_s=np.array(latencies), statuses=statuses)
