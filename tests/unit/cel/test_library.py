"""The library, one line a habit worth knowing."""

from __future__ import annotations

import pytest
from tests.unit.cel.builders import decide

from dra_operator.cel import CELRuntimeError


@pytest.mark.parametrize(
    "truth",
    [
        # strings
        "'héllo'.charAt(1) == 'é' && 'héllo'.charAt(5) == ''",
        "'tacocat'.indexOf('') == 0 && 'tacocat'.indexOf('ac', 3) == -1 && 'tacocat'.lastIndexOf('t', 3) == 0",
        "'abab'.replace('a', 'x', 1) == 'xbab' && 'abab'.replace('', '-') == '-a-b-a-b-'",
        f"'{'a' * 1500}'.replace('a', '{'b' * 1500}', 1).size() == 2999",  # as long as it gets, not as it might
        "'abc'.split('', 2) == ['a', 'bc'] && 'a,b'.split(',', 0) == [] && ''.split(',') == ['']",
        "'ÄB'.lowerAscii() == 'Äb' && ' a\\u00a0'.trim() == 'a'",
        "strings.quote('a\\n\"') == '\"a\\\\n\\\\\"\"'",
        "['a', 'b'].join('-') == 'a-b'",
        # format
        "'%s %d %.2f'.format(['a', 1, 2.5]) == 'a 1 2.50'",
        "'%s'.format([{'a': 1.5}]) == '{\"a\":1.500000}' && '%s'.format([1.5]) == '1.5'",
        "'%x %X %o %b'.format([255, 'hi', 8, true]) == 'ff 6869 10 1'",
        "'%f'.format([1234.5]) == '1,234.500000'",
        # regex
        "'a1b2'.findAll('[0-9]', 1) == ['1'] && 'a1'.find('[0-9]') == '1' && 'abc'.findAll('') == ['', '', '', '']",
        # lists and sets
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 1, 2].distinct() == [1, 2] && [[[1]]].flatten(2) == [1]",
        "![dyn(2), dyn(1), dyn(semver('1.0.0'))].isSorted()",
        "[].sum() == 0 && [1.5, 2.5].sum() == 4.0 && [2, 3].min() == 2",
        "sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2]) && !sets.contains([1], [1, 2])",
        # quantity
        "!quantity('1.5Gi').isInteger() && !quantity('1Pi').isInteger()",
        "quantity('1k').add(20) == quantity('1020') && sign(quantity('-5')) == -1",
        "isQuantity('.5') && !isQuantity(' 1') && isQuantity('+')",
        # semver
        "semver('v1.02.3-rc.1', true) == semver('1.2.3-rc.1') && !isSemver('v1', false) && isSemver('1', true)",
        "semver('1.0.0-a').isGreaterThan(semver('1.0.0-1'))",
        # url
        "url('https://u:p@a.b:80/x%20y?q=1&q=2').getHost() == 'a.b:80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('/p?x=1').getQuery() == {'x': ['1']}",
        "!isURL('../x') && !isURL('https://a b/') && isURL('mailto:x')",
        # ip, cidr
        "!isIP('127.0.0.01') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && ip('::1').isLoopback()",
        "!ip.isCanonical('0:0::1') && ip('::1') == ip('0:0::1') && type(ip('::1')) == net.IP",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.1.0.0/16').containsCIDR('10.0.0.0/8')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && !isCIDR('10.0.0.0/08')",
        # format
        "!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('Abc').hasValue()",
        "!format.named('nope').hasValue() && !format.dns1123LabelPrefix().validate('a-').hasValue()",
        # time
        "timestamp('2024-02-29T12:34:56Z').getDayOfYear() == 59 && -dyn(duration('1h')) == duration('-1h')",
        "timestamp('2024-02-29T00:00:00Z').getDayOfWeek() == 4",
        "timestamp('2024-02-29T12:34:56Z').getHours('-02:30') == 10 && duration('-1.5h').getMinutes() == -90",
    ],
)
def test_holds(truth: str) -> None:
    assert decide(truth)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'abc'.substring(9) == ''", "index out of range: 9"),
        ("[].max() == 1", "max called on empty list"),
        ("[1, 2, 3].slice(0, 4) == []", "list is length 3"),
        ("lists.range(2000000).size() > 0", "exceeds maximum"),
        ("quantity('x').isInteger()", "quantities must match the regular expression"),
        ("quantity('1e2000000000').add(1).isInteger()", "too far apart"),
        ("semver('1.0').major() == 1", "No Major.Minor.Patch"),
        ("ip('x').family() == 4", "parse error"),
    ],
)
def test_fails(expression: str, message: str) -> None:
    with pytest.raises(CELRuntimeError, match=message):
        decide(expression)


def test_patterns_take_linear_time() -> None:
    assert not decide(f"'{'a' * 5000}b'.matches('^(a+)+$')")
