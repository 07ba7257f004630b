"""Shapes of CEL expressions by the type that they give: what `expressions.py` grows selectors from.

`{type}` is a hole for an expression of that type, `{any}` one for any. `{list:bool}` in a macro stands for a list and a
body of that type in which the elements have a name; `{domain:bool}` for the attributes or capacities of a domain and a
body in which they have one. What needs no hole is a leaf.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "dra.example.com"
_OWN: Final = f'device.attributes["{DOMAIN}"]'

SHAPES: Final[dict[str, tuple[str, ...]]] = {
    "bool": (
        *("true", "false", "device.allowMultipleAllocations", f"has({_OWN}.s)", f"has({_OWN}.nope)"),
        *(f'"i" in {_OWN}', f"{_OWN}.b", f'device.driver == "{DOMAIN}"', 'has(device.attributes["zz"].a)'),
        *("{bool} && {bool}", "{bool} || {bool}", "!({bool})", "({bool}) ? ({bool}) : ({bool})"),
        *("{int} == {int}", "{int} != {int}", "{int} < {int}", "{uint} >= {uint}", "{double} <= {double}"),
        *("{int} < {double}", "{uint} > {int}", "{string} == {string}", "{string} < {string}", "{bytes} == {bytes}"),
        *("{attribute} == {any}", "{any} != {attribute}", "{attribute} < {any}", "{attribute} in {list}"),
        *("{list} == {list}", "{map} == {map}", "{any} in {list}", "{string} in {map}", "{semver} == {attribute}"),
        *("{string}.startsWith({string})", "{string}.endsWith({string})", "{string}.contains({string})"),
        *("{string}.matches({regex})", "{attribute}.matches({regex})", "{attribute}.startsWith({string})"),
        *("{semver}.isGreaterThan({semver})", "{semver}.isLessThan({attribute})", "isSemver({string})"),
        *("{quantity}.isGreaterThan({quantity})", "{quantity}.isLessThan({quantity})", "{quantity}.isInteger()"),
        *("isQuantity({string})", "{quantity} == {quantity}", "{optional}.hasValue()", "isURL({string})"),
        *(
            "isIP({string})",
            "ip.isCanonical({string})",
            "isCIDR({string})",
            "{ip}.isLoopback()",
            "{ip}.isGlobalUnicast()",
        ),
        *("{cidr}.containsIP({ip})", "{cidr}.containsCIDR({cidr})", "{ip}.family() == {int}"),
        *("sets.contains({list}, {list})", "sets.equivalent({list}, {list})", "sets.intersects({list}, {list})"),
        *("{list}.includes({any})", "{attribute}.includes({any})", "{list}.isSorted()", "{duration} < {duration}"),
        *("{timestamp} > {timestamp}", "{list}.exists({each:bool})", "{list}.all({each:bool})"),
        *("{list}.exists_one({each:bool})", "{attribute}.exists({each:bool})", "{attribute}.all({each:bool})"),
        *("{map}.all({both:bool})", "{list}.exists({both:bool})", "device.attributes.exists({each:bool})"),
        *(
            "{domain}.all({both:bool})",
            "{domain}.exists({each:bool})",
            "cel.bind({domain:bool})",
            "{domain}.all({each:bool})",
        ),
        *("cel.bind({bind:bool})", "type({any}) == {type}", "format.named({string}).hasValue()", "{any}.bool()"),
        *("bool({string})", "dyn({bool})", "!format.dns1123Label().validate({string}).hasValue()"),
    ),
    "int": (
        *("0", "1", "-1", "2", "7", "9223372036854775807", "-9223372036854775808", "0x1F", f"{_OWN}.i"),
        *("{int} + {int}", "{int} - {int}", "{int} * {int}", "{int} / {int}", "{int} % {int}", "-({int})"),
        *("size({string})", "{list}.size()", "{map}.size()", "{bytes}.size()", "int({string})", "int({double})"),
        *("int({uint})", "{string}.indexOf({string})", "{string}.lastIndexOf({string})", "{list}.indexOf({any})"),
        *("{list}.lastIndexOf({any})", "{semver}.major()", "{semver}.minor()", "{semver}.patch()"),
        *(
            "{quantity}.asInteger()",
            "{quantity}.sign()",
            "{quantity}.compareTo({quantity})",
            "{semver}.compareTo({semver})",
        ),
        *(
            "({bool}) ? ({int}) : ({int})",
            "{cidr}.prefixLength()",
            "{timestamp}.getFullYear()",
            "{duration}.getSeconds()",
        ),
        *("{ints}.sum()", "{ints}.max()", "{ints}.min()", "{ints}[{int}]", "cel.bind({bind:int})", "dyn({int})"),
        *("{optional}.orValue({int})", "{attribute}.size()", "int({timestamp})", "{ip}.family()"),
    ),
    "uint": (
        "0u",
        "1u",
        "5u",
        "18446744073709551615u",
        "{uint} + {uint}",
        "{uint} - {uint}",
        "uint({int})",
        "uint({string})",
    ),
    "double": (
        *("0.0", "1.5", "-2.0", "1e308", "{double} + {double}", "{double} * {double}", "{double} / {double}"),
        *("double({int})", "double({string})", "{quantity}.asApproximateFloat()", "-({double})"),
    ),
    "string": (
        *('"fish"', '""', '"f"', '"1"', '"1.2.3"', '"1Gi"', "'a\\'b'", 'r"\\d"', '"\\u00e9\\U0001F41F"', '"10.0.0.1"'),
        *(
            f"{_OWN}.s",
            "device.driver",
            '"https://user@example.com:80/a/b?k=v&k=w"',
            '"10.0.0.0/8"',
            '"true"',
            '"A-b_C d"',
        ),
        *("{string} + {string}", "string({int})", "string({double})", "string({bool})", "string({quantity})"),
        *("string({bytes})", "string({semver})", "string({duration})", "string({timestamp})", "string({ip})"),
        *("{string}.lowerAscii()", "{string}.upperAscii()", "{string}.trim()", "{string}.reverse()"),
        *("{string}.charAt({int})", "{string}.substring({int})", "{string}.substring({int}, {int})"),
        *("{string}.replace({string}, {string})", "{string}.replace({string}, {string}, {int})"),
        *("{string}.find({regex})", "{strings}.join({string})", "{strings}.join()", "strings.quote({string})"),
        *('"%s-%d".format([{string}, {int}])', '"%.2f|%x|%b".format([{double}, {int}, {int}])', '"%s".format([{any}])'),
        *("url({string}).getHost()", "url({string}).getScheme()", "url({string}).getEscapedPath()"),
        *("({bool}) ? ({string}) : ({string})", "{strings}[{int}]", "{optional}.orValue({string})", "dyn({string})"),
        *("cel.bind({bind:string})", "{strings}.max()", "{cidr}.masked() == {cidr} ? {string} : {string}"),
    ),
    "regex": ('"^f"', '"[a-z]+"', '"(a|b)*c?"', '"\\\\d{1,3}"', '"["', '"\\\\pL"', '".*"', "{string}"),
    "bytes": ('b"abc"', 'b"\\xff"', "bytes({string})", "{bytes} + {bytes}", "base64.decode({string})"),
    "semver": (
        *('semver("1.2.3")', 'semver("2.0.0-rc.1+b")', 'semver("v1.2", true)', "semver({string})", f"{_OWN}.v"),
        "semver({string}, {bool})",
    ),
    "quantity": (
        *('quantity("1Gi")', 'quantity("1500m")', 'quantity("0")', 'quantity("10Ei")', "quantity({string})"),
        *(
            f'device.capacity["{DOMAIN}"].mem',
            f'device.capacity["{DOMAIN}"].nope',
            f'device.capacity["{DOMAIN}"].cores',
        ),
        *("{quantity}.add({quantity})", "{quantity}.sub({quantity})", "{quantity}.add({int})", "{quantity}.sub({int})"),
    ),
    "ip": ('ip("10.0.0.1")', 'ip("::1")', "ip({string})", "{cidr}.ip()"),
    "cidr": ('cidr("10.0.0.0/8")', 'cidr("2001:db8::/32")', "cidr({string})", "{cidr}.masked()"),
    "duration": ('duration("1h30m")', 'duration("-5s")', "duration({string})", "{timestamp} - {timestamp}"),
    "timestamp": (
        'timestamp("2026-01-02T03:04:05Z")',
        "timestamp({string})",
        "{timestamp} + {duration}",
        "timestamp({int})",
    ),
    "ints": ("[1, 2, 3]", "[3, 1]", "[]", "[{int}, {int}]", "{list}.map({each:int})", f"{_OWN}.ns", "{ints} + {ints}"),
    "strings": (
        *(
            '["a", "b"]',
            '["fish"]',
            "[{string}, {string}]",
            "{list}.map({each:string})",
            f"{_OWN}.l",
            "{string}.split({string})",
        ),
        *("{string}.findAll({regex})", "{strings} + {strings}", "{string}.split({string}, {int})"),
    ),
    "list": (
        *("{ints}", "{strings}", "[{any}, {any}]", "[{any}, {any}, {any}]", "[]", "{list}.filter({each:bool})"),
        *(
            "{list}.map({each:any})",
            "{list} + {list}",
            f"{_OWN}.vs",
            f"{_OWN}.bs",
            "{list}.distinct()",
            "{list}.reverse()",
        ),
        *("{list}.slice({int}, {int})", "{list}.flatten()", "{ints}.sort()", "{list}.transformList({both:any})"),
        *("[?{optional}, {any}]", "lists.range({small})", "{map}.map({each:any})", "({bool}) ? ({list}) : ({list})"),
        "{list}.map(y, {bool}, [y])",
    ),
    "small": ("0", "3", "10", "{ints}.size()"),
    "map": (
        *(
            "{{}}",
            '{{"a": 1}}',
            '{{"s": {any}}}',
            "{{{string}: {any}}}",
            _OWN,
            'device.attributes["other.example.com"]',
        ),
        *("device.attributes", "device.capacity", '{{?"a": {optional}}}', "{list}.transformMap({both:any})"),
        *('device.attributes["zz"]', "{map}.transformMap({both:any})", "{{1: {any}, true: {any}}}"),
    ),
    "domain": (
        _OWN,
        f'device.capacity["{DOMAIN}"]',
        'device.attributes["zz"]',
        'device.capacity["zz"]',
        "device.attributes",
    ),
    "optional": (
        *(f"{_OWN}.?s", f"{_OWN}[?'nope']", "optional.none()", "optional.of({any})", "optional.ofNonZeroValue({any})"),
        *(
            "{map}.?a",
            "{ints}[?{int}]",
            "{optional}.or({optional})",
            "{optional}.optMap({bind1:any})",
            "{map}[?{string}].?b",
        ),
        "{optional}.optFlatMap({bind1:optional})",
    ),
    "type": ("int", "string", "bool", "list", "map", "type({any})", "optional_type", "net.IP", "null_type", "double"),
    "attribute": (
        *(f"{_OWN}.s", f"{_OWN}.i", f"{_OWN}.b", f"{_OWN}.v", f"{_OWN}.l", f"{_OWN}.vs", f"{_OWN}.ns", f"{_OWN}.bs"),
        *(f"{_OWN}.nope", 'device.attributes["other.example.com"].x', 'device.attributes["zz"].b', f'{_OWN}["i"]'),
        *(f"{_OWN}.?s.orValue({{any}})", f"{_OWN}.?nope.orValue({{any}})", f"{_OWN}[{{string}}]", f"{_OWN}.l[{{int}}]"),
        *("[{optional}][0].a", '{{"a": {optional}}}.a.b', '{{"a": {optional}}}.a[?{string}]', '{{"a": {map}}}.a.b'),
        *("{domain}.s", "{domain}.?s.orValue({any})", "{domain}[{string}]", "{domain}.mem"),
        *("{optional}.value()", "dyn({any})", "{map}[{string}]", "null", "{map}.a"),
    ),
}
"""By type. `bool`, `int`, `string`, `list` and `attribute` come up most, as in real selectors."""

TYPES: Final = (
    "bool",
    "int",
    "string",
    "list",
    "attribute",
    "attribute",
    "semver",
    "quantity",
    "double",
    "uint",
    "map",
    "optional",
)
"""What an `{any}` may become."""
