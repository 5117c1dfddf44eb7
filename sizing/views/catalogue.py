"""What the kit knows, as rows for ``models``, ``gpus`` and ``hosts``."""

from __future__ import annotations

from sizing.facts.catalogue import Facts
from sizing.hosts.home import every_home_host
from sizing.plan import words
from sizing.request.request import DEFAULT_REGION


def model_rows(facts: Facts) -> list[dict[str, object]]:
    """Every model as a row: architecture, size, KV bytes per token, licence, engines."""
    return [
        {
            "model": model.key,
            "modality": model.modality,
            "params_b": round(model.params.total / 1e9, 2),
            "active_b": round(model.params.active_text / 1e9, 2),
            "native_context_tokens": model.context.native_tokens,
            "thinking": model.thinking,
            "licence": model.licence,
            "commercial": facts.licence(model).commercial,
            "vllm": _support(model.vllm.supported, model.vllm.first, model.vllm.last),
            "sglang": _support(model.sglang.supported, model.sglang.first, model.sglang.last),
            "quantised": " ".join(sorted(set(model.quantised.values()))),
            "hub_ids": " ".join(model.hub_ids),
        }
        for model in facts.models.values()
    ]


def _support(supported: bool, first: str | None, last: str | None) -> str:
    if not supported:
        return "never"
    return f"{first or ''}..{last or ''}"


def gpu_rows(facts: Facts) -> list[dict[str, object]]:
    """Every GPU as a row."""
    return [
        {
            "gpu": gpu.id,
            "memory_gib": gpu.cuda_total_gib.value,
            "memory_basis": gpu.cuda_total_gib.basis,
            "bandwidth_gb_s": gpu.mem_bandwidth_gb_s,
            "bf16_tflops": gpu.bf16_dense_tflops,
            "fp8": "yes" if gpu.fp8_hardware else "weights only",
            "tdp_w": gpu.tdp_w,
            "interconnect": gpu.interconnect,
            "driver": f"R{gpu.min_driver_branch}",
            "aws": " ".join(i.id for i in facts.instances.values() if i.gpu == gpu.id and i.gpu_partition == 1),
        }
        for gpu in facts.gpus.values()
    ]


def host_rows(facts: Facts) -> list[dict[str, object]]:
    """Every AWS instance type, home host, rented card and CPU machine as a row; AWS prices are us-east-1's newest."""
    rows: list[dict[str, object]] = []
    for instance in facts.instances.values():
        price = facts.price(instance.id, DEFAULT_REGION)
        rows.append(
            {
                "host": instance.id,
                "place": "aws",
                "gpus": f"{instance.gpu_count} x {instance.gpu}",
                "vcpu": instance.vcpu,
                "memory_gib": round(instance.memory_mib / 1024),
                "usd_per_hour": str(price.usd_per_hour) if price else None,
                "price_dated": price.dated.isoformat() if price else None,
                "note": instance.note,
            }
        )
    for host in every_home_host(facts):
        rows.append(
            {
                "host": host.id,
                "place": "home",
                "gpus": f"{host.gpu_count} x {host.gpu}",
                "vcpu": host.vcpu,
                "memory_gib": host.memory_gib,
                "usd_per_hour": None,
                "price_dated": host.hardware_usd_dated.isoformat(),
                "note": f"{host.cpu}, {host.nvme_gb} GB NVMe, PSU {host.psu_w} W, about {words.usd(host.hardware_usd)}",
            }
        )
    for rental in facts.rentals:
        rows.append(
            {
                "host": rental.id,
                "place": "rented",
                "gpus": f"1 x {rental.gpu}",
                "vcpu": None,
                "memory_gib": None,
                "usd_per_hour": str(rental.usd_per_hour),
                "price_dated": rental.dated.isoformat(),
                "note": rental.source,
            }
        )
    for machine in facts.cpu_hosts.values():
        listed = facts.price(machine.id, DEFAULT_REGION)
        bought = machine.hardware_usd_dated
        dated = listed.dated if listed else bought
        rows.append(
            {
                "host": machine.id,
                "place": machine.place,
                "gpus": "none",
                "vcpu": machine.vcpu,
                "memory_gib": machine.memory_gib,
                "usd_per_hour": str(listed.usd_per_hour) if listed else None,
                "price_dated": dated.isoformat() if dated else None,
                "note": f"{machine.cpu}, memory {machine.memory_gb_per_s.value:g} GB/s",
            }
        )
    return rows
