"""The words that generated cases are made of: few of each, so that devices and requests often meet.

Kept apart from the generators so that a new selector, attribute or amount is one line.
"""

from __future__ import annotations

from typing import Any, Final

Json = Any

GPU: Final = "gpu.example.com"
NIC: Final = "nic.example.com"
NET: Final = "net.example.org"
DRIVERS: Final = (GPU, NIC, NET)

PCIE: Final = "resource.kubernetes.io/pcieRoot"
LINE: Final = "vendor.example.com/line"
DERIVED: Final = "derived.example.com/kind"

NODES: Final = ("node-0", "node-1", "node-2")
DECLARED: Final = "DRAOptionalNodeOperations"
SKIPPED: Final = ("NodePrepareResources", "NodeUnprepareResources")

FEATURES: Final = (
    "adminAccess",
    "compatibilityGroups",
    "consumableCapacity",
    "derivedAttributes",
    "deviceBindingAndStatus",
    "deviceTaints",
    "fractionalCapacityRange",
    "listTypeAttributes",
    "optionalNodeOperations",
    "partitionableDevices",
    "prioritizedList",
)
ALPHA: Final = ("compatibilityGroups", "derivedAttributes", "listTypeAttributes", "optionalNodeOperations")
"""Off, unless somebody turns them on."""

TAINTS: Final = (
    {"key": "example.com/unhealthy", "effect": "NoSchedule"},
    {"key": "example.com/unhealthy", "effect": "NoExecute"},
    {"key": "example.com/maintenance", "value": "soon", "effect": "NoSchedule"},
    {"key": "example.com/maintenance", "value": "now", "effect": "NoExecute"},
    {"key": "example.com/note", "effect": "None"},
    {"key": "example.com/future", "effect": "Evaporate"},
)
TOLERATIONS: Final = (
    {"operator": "Exists"},
    {"key": "example.com/unhealthy", "operator": "Exists"},
    {"key": "example.com/unhealthy", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "example.com/unhealthy", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
    {"key": "example.com/maintenance", "operator": "Equal", "value": "soon"},
    {"key": "example.com/maintenance", "operator": "Equal", "value": "now", "effect": "NoExecute"},
    {"key": "example.com/maintenance", "operator": "Equal"},
    {"key": "example.com/unhealthy", "operator": "Equal", "effect": "NoSchedule"},
    {"key": "example.com/unhealthy", "effect": "NoExecute"},  # as Equal
    {"operator": "Exists", "effect": "NoExecute"},
    {"operator": "Equal", "value": "soon"},
    {"key": "example.com/unhealthy", "operator": "Similar"},
)

NODE_SELECTORS: Final = (
    [{"key": "zone", "operator": "In", "values": ["a"]}],
    [{"key": "zone", "operator": "In", "values": ["b", "a"]}],
    [{"key": "zone", "operator": "NotIn", "values": ["b"]}],
    [{"key": "rack", "operator": "Exists"}],
    [{"key": "rack", "operator": "DoesNotExist"}],
    [{"key": "slots", "operator": "Gt", "values": ["4"]}],
    [{"key": "slots", "operator": "Lt", "values": ["4"]}],
    [{"key": "zone", "operator": "In", "values": ["a"]}, {"key": "rack", "operator": "Exists"}],
    [{"key": "zone", "operator": "NotIn", "values": ["a"]}, {"key": "zone", "operator": "Exists"}],
)
UNREADABLE_REQUIREMENTS: Final[tuple[Json, ...]] = (
    {"key": "zone", "operator": "Near"},
    {"key": "zone", "operator": "In"},
    {"key": "zone", "operator": "NotIn", "values": []},
    {"key": "zone", "operator": "Exists", "values": ["a"]},
    {"key": "slots", "operator": "Gt", "values": ["many"]},
    {"key": "slots", "operator": "Lt", "values": ["1", "2"]},
    {"key": "two words", "operator": "Exists"},
    {"key": "zone", "operator": "In", "values": ["a", "no label!"]},
)
FIELDS: Final[tuple[Json, ...]] = (
    {"key": "metadata.name", "operator": "NotIn", "values": ["node-1"]},
    {"key": "metadata.namespace", "operator": "In", "values": ["node-1"]},
    {"key": "metadata.namespace", "operator": "NotIn", "values": ["node-1"]},
    {"key": "metadata.name", "operator": "In", "values": ["node-0", "node-1"]},
    {"key": "metadata.name", "operator": "NotIn", "values": []},
    {"key": "metadata.name", "operator": "Exists"},
)
"""All but the one that names a node, which is used more; the last three cannot be read."""

POLICIES: Final[tuple[Json, ...]] = (
    # of a capacity of 80Gi
    {"default": "10Gi"},
    {"default": "20Gi", "validValues": ["20Gi", "40Gi", "80Gi"]},
    {"validValues": ["8Gi", "16Gi", "40Gi"]},
    {"default": "5Gi", "validRange": {"min": "5Gi", "max": "60Gi"}},
    {"default": "5Gi", "validRange": {"min": "5Gi"}},
    {"default": "10Gi", "validRange": {"min": "10Gi", "step": "10Gi"}},
    {"default": "6Gi", "validRange": {"min": "2Gi", "max": "50Gi", "step": "4Gi"}},
    {"default": "70Gi", "validRange": {"min": "10Gi", "max": "60Gi", "step": "5Gi"}},  # a default outside the range
    {"default": "10Gi", "validRange": {"max": "60Gi"}},
    {"validRange": {"min": "0", "step": "3"}},
)
AMOUNTS: Final = (
    *("1Gi", "5Gi", "10Gi", "12Gi", "16Gi"),
    # 70Gi is a default: equal to it is only what is written in the same unit
    *("17179869185", "30Gi", "40Gi", "70Gi", "71680Mi", "75161927680", "80Gi", "81Gi"),
)
FRACTIONS: Final[tuple[Json, ...]] = (
    # of a capacity of 2
    {"default": "250m", "validRange": {"min": "250m", "step": "250m"}},
    {"default": "100m", "validRange": {"min": "100m", "max": "1500m", "step": "200m"}},
    {"default": "1", "validRange": {"min": "500m", "max": "2"}},
    {"default": "500m", "validValues": ["500m", "1", "1500m"]},
    {"default": "1m", "validRange": {"min": "500u", "step": "1m"}},
    {"default": "100m", "validRange": {"min": "100m", "step": "500u"}},
)
FRACTION_AMOUNTS: Final = ("0", "1m", "100m", "250m", "300m", "999m", "1", "1001m", "1500m", "1700m", "2", "3", "1500u")
HUGE_AMOUNTS: Final = (
    *("9223372036854775807", "9223372036854775808", "9223372036854775806", "8Ei", "-1", "9e18"),
    *("9223372036854775", "9223372036854775807m", "9223372036854775800m", "9223372036854776", "1e16"),
)
HUGE_POLICIES: Final[tuple[Json, ...]] = (
    {"default": "1", "validRange": {"min": "1", "step": "3"}},
    {"default": "1", "validRange": {"min": "1", "step": "1000m"}},
    {"default": "1", "validRange": {"min": "500m", "step": "300m"}},
    {"default": "1", "validRange": {"min": "500m", "step": "1m"}},
    {"default": "1", "validRange": {"min": "1", "max": "1e16", "step": "2"}},
    {"default": "1", "validRange": {"min": "0", "step": "9e15"}},
    {"validRange": {"min": "9e15", "step": "5e18"}},
)


def benign(driver: str) -> tuple[str, ...]:
    """Selectors that many devices of the driver match, and none fails on."""
    domain = f'device.attributes["{driver}"]'
    return (
        "true",
        f'device.driver == "{driver}"',
        'device.driver.endsWith(".com")',
        f'{domain}.?model.orValue("") != "b"',
        f"has({domain}.numa) && {domain}.numa == 0",
        f"{domain}.?numa.orValue(1) < 1 || true",
        f'!("healthy" in {domain}) || {domain}.healthy',
        f'{domain}.?version.orValue(semver("1.0.0")).isGreaterThan(semver("0.9.0"))',
        f'device.capacity["{driver}"].?memory.orValue(quantity("80Gi")).compareTo(quantity("40Gi")) >= 0',
        'device.attributes["vendor.example.com"].?line.orValue("gold") in ["gold", "silver"]',
        f'cel.bind(d, {domain}, "model" in d ? d.model.matches("^[ab]$") : true)',
        f'{domain}.?model.orValue("a") == "a" || {domain}.?numa.orValue(0) == 0',
    )


def selective(driver: str) -> tuple[str, ...]:
    """Selectors that few devices match."""
    domain = f'device.attributes["{driver}"]'
    return (
        "false",
        f'{domain}.?model.orValue("") == "b"',
        f"{domain}.?numa.orValue(0) == 1",
        'device.attributes["resource.kubernetes.io"].?pcieRoot.orValue("") == "pci0000:01"',
        'device.attributes["vendor.example.com"].?line.orValue("") == "gold"',
        f'device.capacity["{driver}"].?memory.orValue(quantity("0")) == quantity("80Gi")',
        'device.driver == "other.example.com"',
        f"{domain}.?healthy.orValue(true) == false",
    )


def failing(driver: str) -> tuple[str, ...]:
    """Selectors that fail on some devices."""
    domain = f'device.attributes["{driver}"]'
    return (
        f'{domain}.model == "a"',
        f"{domain}.numa == 0",
        f"{domain}.nope == 1",
        f'device.attributes["{NIC}"].speed > 1',
        'device.attributes["resource.kubernetes.io"].pcieRoot != "x"',
        f'device.capacity["{driver}"].memory.isGreaterThan(quantity("1Gi"))',
        f"{domain}.numa / 0 == 1",
        f"{domain}.links[3] == 'l1'",
        f'{domain}.?version.orValue("1.0") == semver("x")',
        f'{domain}.?model.orValue("a") + 1 == 2',
        f"{domain}.?numa.orValue(0) == 1 || {domain}.nope == 1",
        *(f"{domain}.healthy", f"{domain}.model", f"{domain}.?links.orValue(false)", f"{domain}.version"),
    )


def malformed(driver: str) -> tuple[str, ...]:
    """Selectors that do not compile."""
    return (
        "device.nope == 1",
        "device.driver",
        "device.attributes[",
        f'device.driver == "{driver}" && 1',
        "unknown(device.driver)",
        'quantity("1Gi") == 1',
        "",
    )


def gated(driver: str) -> tuple[str, ...]:
    """Selectors about what gates switch."""
    domain = f'device.attributes["{driver}"]'
    return (
        "device.allowMultipleAllocations == true",
        "!device.allowMultipleAllocations",
        f'!("links" in {domain}) || {domain}.links.includes("l1")',
        f'!("links" in {domain}) || type({domain}.links) == string || {domain}.links.exists(l, l == "l1")',
    )


def derivations(driver: str) -> tuple[str, ...]:
    """Expressions of derived attributes, of every type that one may have."""
    domain = f'device.attributes["{driver}"]'
    return (
        '"same"',
        f"{domain}.?numa.orValue(0)",
        f'{domain}.?model.orValue("a")',
        f'{domain}.?model.orValue("a") + "-" + string({domain}.?numa.orValue(0))',
        f'{domain}.?numa.orValue(0) == 0 ? "low" : "high"',
        f"{domain}.?healthy.orValue(true)",
        f'{domain}.?version.orValue(semver("1.0.0"))',
        f'[{domain}.?model.orValue("a"), "c"]',
        f'{domain}.?links.orValue(["l1"])',
        f"[{domain}.?numa.orValue(0), 7]",
        f'[semver("1.0.0"), {domain}.?version.orValue(semver("1.2.0"))]',
        f"[true, {domain}.?healthy.orValue(true)]",
    )


def odd_derivations(driver: str) -> tuple[str, ...]:
    """Expressions that derive nothing, on some devices or on all."""
    domain = f'device.attributes["{driver}"]'
    return (
        *(f"{domain}.numa", f"{domain}.nope", '"unfinished', "1.5", "[1, 'a']", "[]", "[dyn(1.5)]", "[dyn([1])]"),
        f'device.capacity["{driver}"].?memory.orValue(quantity("1"))',
        *("[dyn(1), dyn('a')]", "[dyn(true), dyn(1)]", "[dyn('a'), dyn(true)]", "[dyn(semver('1.0.0')), dyn('1.0.0')]"),
        *("dyn(1.5)", "dyn(quantity('1'))", "dyn({'a': 1})", "dyn(null)", "dyn(1u)", "dyn([])"),
    )
