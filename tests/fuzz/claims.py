"""What is asked for in a generated case: device classes, the claims of one pod, and the claims that are allocated.

Requests mostly ask for what the pools have, so that about half of all nodes can serve; each also asks for something odd
now and then.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.fuzz.dice import Dice
from tests.fuzz.slices import Traits
from tests.fuzz.vocabulary import (
    AMOUNTS,
    DERIVED,
    DRIVERS,
    FRACTION_AMOUNTS,
    GPU,
    HUGE_AMOUNTS,
    LINE,
    NET,
    NIC,
    PCIE,
    TOLERATIONS,
    benign,
    derivations,
    failing,
    gated,
    malformed,
    odd_derivations,
    selective,
)

Json = Any

CLASSES = {"gpu": GPU, "nic": NIC, "net": NET, "any": GPU}


def make_classes(dice: Dice) -> list[Json]:
    classes = []
    for name, driver in CLASSES.items():
        if dice.chance(0.008):
            continue
        selectors = [] if name == "any" else [f'device.driver == "{driver}"']
        if dice.chance(0.15):
            selectors.append(dice.pick(benign(driver)))
        if dice.chance(0.01):
            selectors.append(dice.pick(failing(driver)))
        spec: Json = {}
        if selectors:
            spec["selectors"] = [{"cel": {"expression": expression}} for expression in selectors]
        if dice.chance(0.35):
            spec["config"] = [
                {"opaque": {"driver": dice.pick(DRIVERS), "parameters": {"kind": "ClassConfig", "name": f"{name}-{n}"}}}
                for n in range(dice.randint(1, 2))
            ]
        classes.append({"metadata": {"name": name}, "spec": spec})
    return classes


def make_claims(dice: Dice, slices: list[Json], traits: Traits) -> list[Json]:
    count = dice.weighted({1: 7.0, 2: 2.5, 3: 0.6})
    drivers = sorted({slice_["spec"]["driver"] for slice_ in slices})
    return [_Claim(dice, drivers, traits, number).claim() for number in range(count)]


class _Claim:
    def __init__(self, dice: Dice, drivers: list[str], traits: Traits, number: int) -> None:
        self.dice, self.drivers, self.traits, self.number = dice, drivers, traits, number
        self.derived = dice.chance(0.12)
        self.constrained = dice.chance(0.45)
        self.driver = dice.pick(drivers) if dice.chance(0.35) else GPU

    def claim(self) -> Json:
        dice = self.dice
        requests = [self._request(n) for n in range(dice.weighted({0: 0.1, 1: 6.0, 2: 3.0, 3: 0.7}))]
        devices: Json = {"requests": requests}
        scopes = [request["name"] for request in requests]
        scopes += [
            f"{request['name']}/{sub['name']}" for request in requests for sub in request.get("firstAvailable", ())
        ]
        if self.constrained and requests:
            devices["constraints"] = [self._constraint(scopes) for _ in range(dice.weighted({1: 5.0, 2: 1.0}))]
        if dice.chance(0.3):
            devices["config"] = [self._config(scopes, n) for n in range(dice.randint(1, 3))]
        name = f"claim-{self.number}"
        uid = f"40000000-0000-4000-8000-{self.number:012}"
        return {"metadata": {"name": name, "namespace": "default", "uid": uid}, "spec": {"devices": devices}}

    def _scope(self, scopes: list[str]) -> Json:
        return {"requests": self.dice.some(scopes, 1, 3)} if self.dice.chance(0.4) and scopes else {}

    def _constraint(self, scopes: list[str]) -> Json:
        dice = self.dice
        driver = self.driver
        names = {f"{driver}/numa": 3.0, PCIE: 3.0, LINE: 1.0, f"{driver}/model": 2.0, f"{driver}/index": 0.7}
        names |= {f"{driver}/version": 1.0, f"{driver}/healthy": 1.0, f"{driver}/socket": 2.0}
        if self.traits.lists:
            names[f"{driver}/links"] = 9.0
        if self.derived:
            names[DERIVED] = 9.0
        names[f"{driver}/nope"] = 0.05
        if dice.chance(0.01):
            return self._scope(scopes)
        kind = "matchAttribute" if dice.chance(0.65) else "distinctAttribute"
        return {kind: dice.weighted(names), **self._scope(scopes)}

    def _config(self, scopes: list[str], number: int) -> Json:
        opaque = {"driver": self.dice.pick(DRIVERS), "parameters": {"kind": "ClaimConfig", "name": str(number)}}
        return {"opaque": opaque, **self._scope(scopes)}

    def _request(self, number: int) -> Json:
        dice = self.dice
        if dice.chance(0.25):
            subs = [{"name": f"sub{n}", **self._asks(subrequest=True)} for n in range(dice.randint(1, 4))]
            return {"name": f"req{number}", "firstAvailable": subs}
        return {"name": f"req{number}", "exactly": self._asks(subrequest=False)}

    def _asks(self, *, subrequest: bool) -> Json:
        dice = self.dice
        driver = self.driver if dice.chance(0.9) else dice.pick(self.drivers)
        class_ = next(name for name, of in CLASSES.items() if of == driver)
        if dice.chance(0.15):
            class_ = "any"
        asks: Json = {"deviceClassName": class_ if dice.chance(0.993) else "missing"}
        if expressions := self._selectors(driver):
            asks["selectors"] = [{"cel": {"expression": expression}} for expression in expressions]
        if dice.chance(0.12):
            asks["allocationMode"] = "All"
        else:
            asks |= {"allocationMode": "ExactCount", "count": self._count(subrequest=subrequest)}
        if dice.chance(0.003):
            asks |= dice.pick(({"allocationMode": "Some"}, {"deviceClassName": ""}, {"selectors": [{}]}))
        if not subrequest and dice.chance(0.12):
            asks["adminAccess"] = dice.chance(0.95)
        if (self.traits.taints and dice.chance(0.5)) or dice.chance(0.05):
            asks["tolerations"] = copy.deepcopy(dice.some(TOLERATIONS, 1, 2))
        if (self.traits.shares and dice.chance(0.55)) or dice.chance(0.03):
            asks["capacity"] = self._capacity(driver)
        if self.derived and dice.chance(0.8):
            names = dice.some((DERIVED, f"{driver}/numa", f"{driver}/model"), 1, 1 + dice.chance(0.3))
            asks["derivedAttributes"] = [
                {"name": name, "expression": dice.pick((odd_derivations if dice.chance(0.12) else derivations)(driver))}
                for name in names
            ]
        return asks

    def _selectors(self, driver: str) -> list[str]:
        dice = self.dice
        expressions: list[str] = []
        if dice.chance(0.4):
            expressions.append(dice.pick(benign(driver)))
        if dice.chance(0.08):
            expressions.append(dice.pick(selective(driver)))
        if dice.chance(0.05):
            expressions.append(dice.pick(gated(driver)))
        if dice.chance(0.03):
            expressions.append(dice.pick(failing(driver)))
        if dice.chance(0.025):
            expressions.append(dice.pick(malformed(driver)))
        dice.shuffle(expressions)
        return expressions

    def _count(self, *, subrequest: bool) -> int:
        dice = self.dice
        if self.traits.large:
            return dice.weighted({1: 5.0, 2: 3.0, 17: 0.4, 20: 0.4, 32: 0.4, 33: 0.7})
        usual = {1: 8.0, 2: 3.0, 3: 0.6, 4: 0.2, 17: 0.05, 33: 0.08, 2**40: 0.02}
        # 0, which the API server defaults, is satisfied by nothing; which subrequest that was no result would tell.
        return dice.weighted(usual | ({33: 0.4, 20: 0.3} if subrequest else {0: 0.05}))

    def _capacity(self, driver: str) -> Json:
        dice = self.dice
        requests: Json = {}
        if dice.chance(0.75):
            requests["memory"] = dice.pick(AMOUNTS[:5] if dice.chance(0.8) else AMOUNTS)
        if dice.chance(0.3):
            requests[f"{driver}/cores"] = dice.pick(FRACTION_AMOUNTS)
        if dice.chance(0.02):
            requests[dice.pick(("memory", "huge"))] = dice.pick(HUGE_AMOUNTS)
        if dice.chance(0.02):
            requests["unknown"] = "1"
        return {"requests": requests} if requests or dice.chance(0.5) else {}


def make_allocated(dice: Dice, slices: list[Json]) -> list[Json]:
    """Claims that hold devices, some alone, some as shares, some with admin access; also devices that are gone."""
    share_of_used = dice.weighted({0.0: 4.0, 0.2: 4.0, 0.5: 1.5, 0.9: 0.5})
    claims = []
    for slice_ in slices:
        for device in slice_["spec"].get("devices", ()):
            if dice.chance(share_of_used):
                claims += _holders(dice, slice_["spec"], device)
    claims = list(_together(dice, claims))
    for number, claim in enumerate(claims):
        claim["metadata"] = {"name": f"used-{number}", "namespace": "default", "uid": f"used-{number}"}
    return claims


def _together(dice: Dice, claims: list[Json]) -> Iterator[Json]:
    """Some claims made one, which then holds several devices, or several shares of one."""
    dice.shuffle(claims)
    while claims:
        count = dice.weighted({1: 6.0, 2: 2.0, 4: 1.0})
        several, claims = claims[:count], claims[count:]
        yield _allocated(
            [result for claim in several for result in claim["status"]["allocation"]["devices"]["results"]]
        )


def _holders(dice: Dice, spec: Json, device: Json) -> list[Json]:
    result: Json = {
        "request": "req0",
        "driver": spec["driver"],
        "pool": spec["pool"]["name"],
        "device": device["name"] if dice.chance(0.97) else "gone",
    }
    as_share = bool(device.get("allowMultipleAllocations")) ^ dice.chance(0.05)
    holders = []
    for _ in range(dice.randint(1, 3) if as_share else 1):
        own = dict(result)
        if dice.chance(0.15):
            own["adminAccess"] = dice.chance(0.8)
        if as_share:
            own["shareID"] = f"10000000-0000-4000-8000-{dice.randrange(10**9):012}"
            capacity = {
                name: dice.pick(AMOUNTS[:5] if not name.endswith("cores") else ("100m", "250m", "500m", "1"))
                for name in device.get("capacity", {})
                if name != "huge" and dice.chance(0.9)
            }
            if capacity:
                own["consumedCapacity"] = capacity
        holders.append(_allocated([own]))
    return holders


def _allocated(results: list[Json]) -> Json:
    return {"spec": {"devices": {}}, "status": {"allocation": {"devices": {"results": results}}}}
