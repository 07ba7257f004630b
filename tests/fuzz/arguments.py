"""What calls of `calls.py` are made of: values at the edges of each type, texts that functions read, macros."""

from __future__ import annotations

from typing import Final

from tests.fuzz.odd_selectors import DRIVER

OWN: Final = f'device.attributes["{DRIVER}"]'

# fmt: off
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("true", "false", "device.allowMultipleAllocations", f"{OWN}.b"),
    "int": (
        *("0", "1", "-1", "2", "3", "5", "7", "64", "1000", "2147483647", "-2147483648", "4294967296"),
        *("9007199254740993", "9223372036854775807", "-9223372036854775808"),
        *("253402300799", "-62135596800", "0x7f"),
    ),
    "uint": ("0u", "1u", "2u", "7u", "9223372036854775808u", "18446744073709551615u", "0x1Fu"),
    "double": (
        *("0.0", "-0.0", "1.0", "-1.5", "0.1"),
        *("2.5", "1e21", "1e-7", "123456789.125", "9007199254740993.0", "1e308"),
        *('double("NaN")', 'double("Infinity")'),
        *('double("-Inf")', "9223372036854775807.0", "9223372036854774784.0"),
        *("-9223372036854775808.0", "18446744073709551615.0", "5e-324"),
        *("1.7976931348623157e308", "100000.0", "3.0e6"),
    ),
    "string": (
        *('""', '"a"', '"b"', '"ab"', '"fish"'),
        *('"FISH"', '" fish\\t\\n"', '"\\u00a0x\\u2003"', '"tacocat"', '"aaa"'),
        *('"é"', '"ünï😀cödé"', '"\\u0130\\u0131"', '"\\u212a"', '"a\\u0000b"'),
        *('"a,b,,c"', '"a.b"', '"%"', '"0"', '"1"'),
        *('"true"', '"False"', '"T"', '"t"', '"TRUE"', '"tRue"'),
        *('"+1"', '"-0"', '"1_000"', '"0x10"', '" 1"', '"1e3"'),
        *('"1.5"', '".5"', '"5."', '"NaN"', '"inf"', '"-Infinity"', '"0x1p-2"', '"1e400"', '"1.2.3"', '"\\"q\\\\"'),
        *("'it\\'s'", 'r"\\n"', '"""a\nb"""'),
        *('"\\a\\b\\f\\n\\r\\t\\v\\?\\`"', '"\\x41\\101\\u0042\\U0001F600"', "device.driver"),
        *('"9223372036854775807"', '"9223372036854775808"', '"18446744073709551616"', f"{OWN}.s", f"{OWN}.q"),
    ),
    "bytes": (
        *('b""', 'b"abc"', 'b"\\xff\\x00"', 'b"\\303\\251"', 'b"é"'),
        *("b'''x'''", 'bytes("fish")', 'b"abd"', 'br"\\x"'),
    ),
    "timestamp": (
        *("2026-01-02T03:04:05Z", "2024-02-29T23:59:59.999999999Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        *("9999-12-31T23:59:59.999999999Z", "2026-03-29T01:30:00+01:00", "1969-12-31T23:59:59.5-09:30"),
        *("2026-12-31T23:30:00Z", "1582-10-15T00:00:00Z", "2038-01-19T03:14:08.000000001Z"),
    ),
    "duration": (
        *("0s", "1h30m", "-5s", "1ns", "1.5h"),
        *("-1.000000001s", "2562047h47m16.854775807s", "1500ms", "3us", "-24h"),
        *("315576000000s", "90m", "1h0m0.001s"),
    ),
    "kubernetes.Quantity": (
        *("0", "1", "-1", "1Gi", "1500m", "1e3", "10Ei", "9223372036854775807", "9223372036854775808", "0.1", "1n"),
        *("-1500m", "1k", "1Ki", "1024", "100E", "3.0", "-9223372036854775808", "1u", "999999999999999999999"),
    ),
    "kubernetes.Semver": (
        *("1.2.3", "0.0.0", "1.2.3-rc.1", "1.2.3-rc.1.2", "1.2.3-1", "1.2.3-alpha+b.1", "1.2.3+b", "10.0.0"),
        *("18446744073709551615.0.0", "1.2.3-a-b", "1.2.3--", "1.2.3-rc.11", "1.2.3-rc.2"),
    ),
    "net.IP": (
        *("10.0.0.1", "0.0.0.0", "127.0.0.1", "255.255.255.255"),
        *("224.0.0.1", "224.0.1.1", "169.254.1.1", "::1", "::"),
        *("fe80::1", "ff02::1", "ff05::1", "2001:db8::1", "fc00::1", "2001:DB8:0:0::1", "::10.0.0.1", "ff01::1"),
    ),
    "net.CIDR": (
        *("10.0.0.0/8", "10.1.2.3/16", "0.0.0.0/0", "10.0.0.1/32"),
        *("2001:db8::/32", "2001:db8::1/64", "::/0", "::1/128"),
        "192.168.0.0/33",
    ),
    "kubernetes.URL": (
        "https://user:pw@example.com:8443/a%20b/c?k=v&k=w&e=&f#frag",
        *("http://[::1]:80/", "http://[2001:db8::1]/p"),
        *("/path/only?x=1", "file:///etc/x", "mailto:a@b"),
        *("https://example.com", "http://h:/", "s://h/?a=b%26c&d=+"),
        *("http://EXAMPLE.com/%7e", "http://h/a//b/../c", "urn:x:y"),
    ),
    "kubernetes.NamedFormat": (
        *("dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix", "labelValue"),
        *("dns1123SubdomainPrefix", "dns1035LabelPrefix", "uri", "uuid", "byte", "date", "datetime"),
    ),
}
"""By type. Of those that are written as a call only the text is here."""

WRITTEN: Final = {
    "timestamp": 'timestamp("{}")',
    "duration": 'duration("{}")',
    "kubernetes.Quantity": 'quantity("{}")',
    "kubernetes.Semver": 'semver("{}")',
    "net.IP": 'ip("{}")',
    "net.CIDR": 'cidr("{}")',
    "kubernetes.URL": 'url("{}")',
    "kubernetes.NamedFormat": "format.{}()",
}

TEXTS: Final[dict[str, tuple[str, ...]]] = {
    # what strings the function reads, besides any
    "matches find findAll": (
        *("[a-z]+", "^f", "$", "", "(", "a*?"),
        *("(?i)fish", "\\\\pL", "[[:alpha:]]", "(?P<n>a)", "(?=a)", "\\\\1", "x{1001}"),
        *("a|b", ".", "\\\\bf", "(a)(c)", "[^a]", "\\\\x{1F600}"),
        *("(?s).", "a{2,1}", "\\\\C", "[a-", "\\\\QA.\\\\E", "\\\\z"),
    ),
    "quantity isQuantity": (
        *("1Gi", "1.5", "-1", "+1", "1e3", "1E3", "1E", "1m"),
        *("1M", "0.0000000001", "1 ", "", "Gi", "1ki", "1Kii", ".5"),
        *("5.", "1e", "1e+3", "1e-3", "--1", "1.5.5", "1n", "1u", "100000000000000000000Ei", "0x1", "1_0", "٣"),
    ),
    "semver isSemver": (
        *("1.2.3", "v1.2.3", "1.2", "1", "v1", "01.2.3"),
        *("1.2.3-", "1.2.3-01", "1.2.3-rc.01", "1.2.3+", "1.2.3+01", ""),
        *("1.2-rc", "v1.2+b", "1.2.3.4", "V1.2.3", "v01.02", "1.02.3-a"),
        *("00", "0", "1.2.3-é", " 1.2.3", "vv1", "001.2.3"),
        *("18446744073709551616.0.0", "1..2", "1.2.x", "00.00.00-rc", "-1.0.0", "v1.2.3-rc", "01.02.03+b"),
    ),
    "ip isIP ip.isCanonical containsIP": (
        *("10.0.0.1", "010.0.0.1", "10.0.0", "10.0.0.256"),
        *("::1", "::ffff:1.2.3.4", "fe80::1%eth0", "2001:DB8::1", "1"),
        *("0:0:0:0:0:0:0:1", "::0", ":::", "1::2::3"),
        *("12345::", "1:2:3:4:5:6:7:8:9", "10.0.0.1/8", "", "::1.2.3.4"),
        *("1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1.2.3.4 "),
        *("2001:db8:0:0:1:0:0:1", "::ffff:0102:0304", "0x0a.0.0.1"),
    ),
    "cidr isCIDR containsCIDR": (
        *("10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08"),
        *("10.0.0.0", "::/0", "::ffff:1.2.3.0/120", "::/129"),
        *("fe80::%e/64", "10.0.0.0/+8", "10.0.0.0/-1", "/8"),
        *("10.0.0.0/", "10.0.0.0/8/8", "2001:db8::/32", "10.0/8"),
    ),
    "url isURL": (
        *("https://example.com:80/a?b=c", "example.com", "/p", "//h/p"),
        *("", "a:b", "http://[::1", "http://h:99999", ":"),
        *("http://h:port/", "http://a b/", "http://h/%zz", "http://h/a b"),
        *("http://\\u00e9/", "*", "http://u@/", "1a://h"),
        *("http://h/\\u0001", "http://[fe80::1%25en0]/", "HTTP://H/"),
        *("http://h?q", "http://h#f", "http://user:p:w@h/"),
        *("http://[::1]x/", "http://h%41/", "http://h/?a;b"),
        *("\\u007f", "cache_object:x", "http://[v1.x]/", "mailto:%zz"),
    ),
    "duration": (
        *("1h", "1", "-1.5m", "1h-1m", "+5s", ""),
        *("1d", "5 s", "1µs", "1μs", "9223372036854775807ns", "9223372037s", ".5s"),
        *("2562047h47m16.854775808s", "-2562047h47m16.854775808s", "1.s", ".s"),
        *("0", "1e3s", "1ms1us", "0.0000000001s"),
    ),
    "timestamp": (
        *("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1234567891Z", "2026-01-02", "2026-13-02T03:04:05Z", "", "0"),
        *("2026-02-29T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T03:04:60Z", "2026-01-02t03:04:05z", "x"),
        *("2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+0100", "2026-01-02 03:04:05Z", "10000-01-01T00:00:00Z"),
        *("2026-01-02T03:04:05,5Z", "0000-01-01T00:00:00Z", "2026-01-02T3:04:05Z", "2026-01-02T03:04:05-00:00"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z"),
        *("2026-01-02T03:04:05+23:59", "2026-01-02T03:04:05+12:60", "-001-01-02T03:04:05Z"),
    ),
    # Zones by name and "Local" are left out: what they are depends on the machine.
    "getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getHours getMilliseconds getMinutes getMonth "
    "getSeconds": (
        *("UTC", "+01:00", "-09:30", "02:00"),
        *("", "Mars/Olympus", "+1:00", "-00:30", "24:00"),
        *("01:60", "a:b", "+23:59", "-1:5", ":", "99:99", "1:2:3"),
    ),
    "format": (
        *("%s", "%d", "%x", "%X", "%o", "%b", "%f", "%e"),
        *("%.0f", "%.3e", "%%", "%", "%q", "%.s", "%.2d", "%s%s", "%5d"),
        *("a", "%.1000f", "%.1001f", "%-s", "%.2f %s", "%s %s %s %s", "%.99999999999f"),
    ),
    "validate format.named": (
        *("a", "A", "a-b", "-a", "a.b", "a_b", "1a"),
        *("x" * 64, "x" * 254, "a/b", "a/B_c", "", "2026-01-02", "YQ==", "YQ"),
        *("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00", "123e4567-e89b-12d3-a456-426614174000"),
        *("a-", "a.", "é"),
        *("http://h/p", "h/p", "/p", "dns1123Label", "uuid"),
        *("nope", "dns1123LabelPrefix", "2026-02-30", "a b", "datetime"),
        *("123E4567E89B12D3A456426614174000", "2026-01-02 03:04:05Z", "1.2.3"),
        *("labelValue", "x." * 126 + "x", "urn:x"),
    ),
    "string": ("a",),
}

MACROS: Final = (
    *("{list(int)}.map(x, x > {int}, x - 1)", "{list(A)}.map(x, [x])", "{list(A)}.filter(x, x == {A})"),
    *("{list(A)}.exists(x, x == {A})", "{list(A)}.all(x, x in {list(A)})", "{list(A)}.exists_one(x, x == {A})"),
    *("{map(string, A)}.all(k, k < {string})", "{map(string, A)}.exists(k, v, k == {string} || v == {A})"),
    "{map(string, A)}.map(k, k)",
    *("{map(string, A)}.filter(k, k != {string})", "{map(string, A)}.exists_one(k, k > {string})"),
    *("{map(string, A)}.existsOne(k, v, v == {A})", "{list(A)}.existsOne(i, v, i > 0 && v != {A})"),
    *("{map(string, A)}.transformMap(k, v, [v, {A}])", "{map(string, A)}.transformMap(k, v, k != {string}, v)"),
    *("{map(string, A)}.transformList(k, v, v)", "{list(A)}.transformList(i, v, i % 2 == 0, [v])"),
    *("{list(A)}.transformMap(i, v, i > 0, v)", "{list(string)}.transformMapEntry(i, v, {{v: i}})"),
    "{list(string)}.transformMapEntry(i, v, v != {string}, {{v: i}})",
    "{map(string, string)}.transformMapEntry(k, v, {{v: k}})",
    *("{list(int)}.sortBy(x, -x)", "{list(string)}.sortBy(x, x.size())", "{list(A)}.sortBy(x, {double})"),
    *("{list(string)}.sortBy(x, bytes(x))", "{list(A)}.sortBy(x, type(x) == int ? dyn(x) : dyn({string}))"),
    "{optional_type(A)}.optMap(x, [x])",
    *("{optional_type(A)}.optFlatMap(x, optional.of(x))", "has({map(string, A)}.a)"),
    "{optional_type(list(A))}.optFlatMap(x, x[?{int}])",
    *("cel.bind(x, {A}, [x, x])", "cel.bind(x, {list(A)}, x + x)"),
    *("{map(string, A)}.?a", "{map(string, A)}.?a.orValue({A})"),
    *("{optional_type(map(string, A))}.?a", "{map(string, A)}.a"),
    *("{{{string}: {A}, {string}: {A}}}", "{{?{string}: {optional_type(A)}}}"),
    *("[?{optional_type(A)}, {A}]", "{{{A}: 1}}"),
    *("{A} in {list(A)}", "{list(A)} == {list(A)}"),
    *("{map(string, A)} == {map(string, A)}", "type({A}) == type({A})"),
    *("{A} == {B}", "{A} < {A}", "{A} != {B}"),
    *("{list(dyn)} == {list(dyn)}", "({A} == {A}) || {bool}", "string({A})"),
    *("sets.contains({list(dyn)}, {list(dyn)})", "{list(dyn)}.distinct()"),
    *("{list(dyn)}.flatten({int})", "int({A})"),
    *("{list(dyn)}.includes({A})", "{A}.includes({B})", "{list(dyn)}.indexOf({A})", "double({A})", "uint({A})"),
    *("optional.ofNonZeroValue({A}).hasValue()", "optional.ofNonZeroValue({list(A)})", "bytes({A})", "bool({A})"),
    *('"%s|%s".format([{A}, {B}])', '"%s".format([{list(A)}])'),
    *('"%s".format([{map(string, A)}])', '"%d".format([{A}])'),
    *('"%s".format([{map(A, B)}])', '"%s".format([{optional_type(A)}])'),
    *('"%s".format([type({A})])', '"%.3f".format([{A}])'),
    *('"%x".format([{A}])', '"%X".format([{string}])'),
    *('"%b".format([{A}])', '"%o".format([{int}])', '"%e".format([{A}])'),
    *('"%.{small}e".format([{double}])', '"%.{small}f".format([{double}])'),
    *('"%X".format([{bytes}])', '"%s".format([null])'),
    *("lists.range({small})", "{list(list(A))}.flatten()"),
    *("{list(A)}.slice({small}, {small})", "{list(A)}[{small}]"),
    *("{string}.substring({small}, {small})", "{string}.charAt({small})", "{string}.indexOf({string}, {small})"),
    "{string}.lastIndexOf({string}, {small})",
    *("{string}.split({string}, {small})", "{list(double)}.sum() == {double}"),
    "{string}.replace({string}, {string}, {small})",
    *("{timestamp} + {duration} - {timestamp}", "{double} == {uint}"),
    *("{double} < {int}", "{double} >= {uint}", "{int} < {uint}", "{int} == {double}", "[{int}] == [{double}]"),
    *("{double} in [{int}, {uint}]", "{{1: 2}}[{double}]"),
    *("{{1u: 2}}[{int}]", "{{true: 1}}[{bool}]", "{{{int}: 1}}[?{uint}]"),
)
"""What is no function, and what needs arguments that go together. `{small}` is a small whole number."""
# fmt: on
