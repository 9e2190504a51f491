"""What `/metrics` answers, read as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

Numbers = dict[tuple[str, ...], float]


def numbers(text: str) -> Numbers:
    """`{("beacon_streams_open", "json"): 2.0}`: each sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def total(found: Numbers, name: str) -> float:
    """Over all label values."""
    return sum(value for key, value in found.items() if key[0] == name)
