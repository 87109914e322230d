"""Constructs of Jinja and Python that chat templates use, or might: one template each. See make_templates.py.

`m` is a list of three messages, `d` a dict, `n` a list of numbers, `u` is not defined.
"""

import re

from expressions import EXPRESSIONS
from rare import RARE

OPERATORS = r"""
{{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }}
{{ '%s has %d' % ('a', 3) }}
{{ '%05.2f|%x|%r' % (3.14159, 255, 'q') }}
{{ '%s' % 'one' }}
{{ '%(a)s' % {'a': 1} }}
{{ '%d%%' % 50 }}
{{ '%s' % ('a', 'b') }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 <= 1 == 1 }} {{ 3 > 2 > 1 != 0 }}
{{ 1 < n | length < 9 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7.0 // 2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ u }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ 'a' + none }}
{{ 'a' + u }}
{{ u + 'a' }}
{{ none + 1 }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * -1 }} {{ 'ab' * 0 }}
{{ [1] * 3 }} {{ 2 * [1, 2] }}
{{ 'ab' * 'cd' }}
{{ 'a' * 1.5 }}
{{ [1] + [2, 3] }} {{ (1,) + (2,) }} {{ (1, 2) * 2 }}
{{ [1] + (2,) }}
{{ [1] + 'a' }}
{{ {'a': 1} + {'b': 2} }}
{{ true + 1 }} {{ true * 3 }} {{ -true }} {{ +3 }} {{ - 3 }}
{{ -'a' }}
{{ 1 == 1.0 }} {{ '1' == 1 }} {{ true == 1 }} {{ none == false }} {{ [] == [] }} {{ [1] == (1,) }} {{ {} == {} }}
{{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ [1, 2] < [1, 3] }} {{ (1, 2) < (2,) }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ u < 1 }}
{{ [1] < 'a' }}
{{ 'a' == u }} {{ u == u }} {{ u == none }} {{ u != '' }}
{{ not u }} {{ not '' }} {{ not [] }} {{ not 0 }} {{ not 0.0 }} {{ not none }} {{ not 'a' }} {{ not {} }} {{ not () }}
{{ 'a' or 'b' }} {{ '' or 'b' }} {{ 'a' and 'b' }} {{ '' and 'b' }} {{ u or 'x' }} {{ none or 0 }} {{ [] or {} }}
{{ 'b' in 'abc' }} {{ 1 in n }} {{ 'k' in d }} {{ 'z' not in d }} {{ '' in '' }} {{ 1 in (1, 2) }}
{{ 1 in 'abc' }}
{{ 'a' in none }}
{{ 'a' in u }}
{{ 'a' in 3 }}
{{ 'yes' if 1 else 'no' }} {{ 'yes' if 0 }} {{ ('a' if u else 'b') ~ 'c' }}
{{ 'a' 'b' }}
{{ 1_000 }} {{ 0x1f }} {{ 0b11 }} {{ 0o17 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 1e20 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456789.125 }}
{{ 10 ** 20 }} {{ 2 ** 64 }} {{ 9223372036854775807 + 1 }}
{{ 0.1 + 0.2 }} {{ 1.0 }} {{ 100.0 * 3 }} {{ 1 / 3 }} {{ 1e100 }}
{{ 5 is odd and not 4 is odd }}
{{ 1 if not (true and false) else 2 }}
{{ (1, 2)[0] }} {{ (1,) }} {{ () }} {{ (1, 'a', none) }}
{{ none }} {{ None }} {{ true }} {{ True }} {{ false }} {{ False }}
"""

SUBSCRIPTS = r"""
{{ 'abc'[0] }} {{ 'abc'[-1] }} {{ 'héllo'[1] }} {{ n[0] }} {{ n[-1] }}
{{ 'abc'[5] }}|{{ n[50] }}|{{ n[-50] }}
{{ n[50].a }}
{{ 'abc'[::-1] }} {{ 'abc'[1:] }} {{ 'abc'[:-1] }} {{ 'abc'[-2:] }} {{ 'abc'[5:] }} {{ 'abcdef'[1:5:2] }}
{{ n[1:] }} {{ n[:-1] }} {{ n[::-1] }} {{ n[::2] }} {{ n[:0:-1] }} {{ n[-100:100] }} {{ n[5:2] }}
{{ n[::0] }}
{{ (1, 2, 3)[1:] }} {{ (1, 2, 3)[::-1] }}
{{ none[1:] }}
{{ u[1:] }}
{{ d[1:] }}
{{ 3[0] }}
{{ d.k }} {{ d['k'] }} {{ d.zzz }}|{{ d['zzz'] }}
{{ d.zzz.a }}
{{ u.a }}
{{ u['a'] }}
{{ none.a }}|
{{ none.a.b }}
{{ none['a'] }}|
{{ 'abc'.foo }}|
{{ 'abc'.foo() }}
{{ m[0].role }} {{ m[0]['role'] }} {{ m[0]['ro' ~ 'le'] }} {{ m[-1].content }}
{{ m.0.role }}
{{ {'a': {'b': [1, 2]}}.a.b[1] }}
{{ {'items': 5}['items'] }} {{ {'items': 5, 'a': 1}.items() | list }}
{{ {'get': 1}.get('get') }} {{ {'keys': 2}.keys() | list }}
{{ {1: 'a', 'b': 2, none: 3, 1.5: 4, true: 5} }}
{{ {1: 'a'}[1] }} {{ {1: 'a'}[true] }} {{ {1: 'a'}[1.0] }} {{ {'1': 'a'}[1] }}|
{{ {[1]: 2} }}
{{ {(1, 2): 3}[(1, 2)] }}
{{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ [] }} {{ {} }} {{ [[1, [2]], {'a': [none]}] }}
{{ d[u] }}|
{{ d[[1]] }}|
{{ n['a'] }}|
{{ n[1.0] }}|
{{ n[true] }}|
{{ 'abc'['1'] }}|
"""

STRINGS = r"""
{{ 'a b c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b c'.rsplit() }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a::b::c'.rsplit('::') }} {{ 'aaa'.rsplit('aa') }}
{{ 'a,b,c'.split(',', maxsplit=1) }} {{ 'a,b,c'.rsplit(',', maxsplit=1) }} {{ 'a,b'.split(sep=',') }} {{ ' a b c '.split(maxsplit=1) }}
{{ 'abc'.split('') }}
{{ 'a-b-c'.partition('-') }} {{ 'abc'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.rpartition('-') }}
{{ 'abc'.partition('') }}
{{ 'a</think>b</think>c'.split('</think>')[-1] }} {{ 'a</think>b'.partition('</think>')[2] }}
{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xya'.lstrip('yx') }}|{{ '\n a\n'.strip('\n') }}|{{ ' a '.strip(none) }}
{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'abc'.replace('', '.') }} {{ 'aaa'.replace('a', 'b', 0) }} {{ 'aaa'.replace('a', 'b', -1) }}
{{ 'abc'.replace('a') }}
{{ 'Abc dEf'.upper() }} {{ 'Abc dEf'.lower() }} {{ 'abc dEf'.title() }} {{ 'abc dEf'.capitalize() }} {{ 'aBc'.swapcase() }} {{ 'Straße'.casefold() }} {{ 'straße'.upper() }}
{{ "they're bill's".title() }} {{ 'a1b c-d'.title() }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }}
{{ 'abc'.startswith(1) }}
{{ 'abc'.startswith(['a']) }}
{{ 'aaa'.count('a') }} {{ 'aaa'.count('aa') }} {{ 'aaa'.count('') }} {{ 'abcabc'.count('a', 1) }}
{{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'abcabc'.rfind('a') }} {{ 'héc'.find('c') }} {{ 'abcabc'.find('a', 1) }} {{ 'abc'.index('b') }} {{ 'abcb'.rindex('b') }}
{{ 'abc'.index('z') }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }}
{{ ', '.join(['a', 'b']) }} {{ ''.join(['a']) }}|{{ '-'.join([]) }}|{{ '-'.join('abc') }}
{{ ', '.join([1, 2]) }}
{{ ', '.join(3) }}
{{ ', '.join(['a', none]) }}
{{ 'a\nb\r\nc'.splitlines() }} {{ 'a\nb\n'.splitlines(true) }} {{ ''.splitlines() }}
{{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ '12'.isnumeric() }} {{ '12'.isdecimal() }} {{ ' '.isspace() }} {{ 'ab'.islower() }} {{ 'AB'.isupper() }} {{ 'Ab Cd'.istitle() }} {{ 'a'.isascii() }} {{ ''.isalpha() }} {{ 'a_1'.isidentifier() }}
{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '.') }}|{{ 'ab'.center(5, '*') }}|{{ 'a'.center(4) }}|{{ '42'.zfill(5) }}|{{ '-42'.zfill(5) }}
{{ 'a\tb'.expandtabs(4) }}
{{ '{} {}'.format('a', 1) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=3) }} {{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}'.format('a', 'b', 'c', 42, 3.14159) }} {{ '{{}}'.format() }} {{ '{!r}'.format('a') }}
{{ '{} {}'.format('a') }}
{{ '{:,}'.format(1234567) }} {{ '{:x}'.format(255) }} {{ '{:%}'.format(0.5) }} {{ '{:+d}'.format(5) }} {{ '{:e}'.format(12345.678) }}
{{ '{0[a]}'.format({'a': 1}) }} {{ '{0[1]}'.format([1, 2]) }}
{{ '{:d}'.format('a') }}
{{ '{x}'.format_map({'x': 1}) }}
{{ 'abc'.encode() }}
{{ 'a' is string }} {{ ('a' ~ 'b').upper() }} {{ ('x' if true else 'y').upper() }} {{ 'it''s' }}
{{ "a\\b" }} {{ 'a\tb' }} {{ 'a\'b' }} {{ "\u00e9\x41" }} {{ 'a\nb' }} {{ "\N{BULLET}" }}
{{ ['a\n', 'b\t', "it's", 'a"b', 'é', '\x01', '\\', "'\""] }}
{{ ['\x7f', '\u200b', '\u00a0', '😀'] }}
{{ [1.0, 1e20, 1e-7, -0.0, none, true] }} {{ (1, [2, (3,)]) }} {{ {'a': (1, 2), 'b': {'c': 'd'}} }}
{{ 'a' 'b' ~ 'c' }} {{ 'abc' | length }} {{ 'héé' | length }}
"""

LISTS = r"""
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('k') }} {{ d.get('z') }} {{ d.get('z', 1) }}
{{ d.get() }}
{{ d.items() }}
{{ d.keys() }} {{ d.values() }}
{{ d.pop('k') }}
{{ d.update({'x': 1}) }}
{{ d.setdefault('x', 1) }}
{{ d.clear() }}
{{ d.copy() }} {{ n.copy() }}
{{ n.append(3) }}
{% set x = n.append(3) %}{{ x }}
{{ n.extend([3]) }}
{{ n.insert(0, 3) }}
{{ n.pop() }}
{{ n.sort() }}
{{ n.reverse() }}
{{ n.index(2) }} {{ n.count(1) }} {{ (1, 2).index(2) }} {{ (1, 1).count(1) }}
{{ n.index(77) }}
{{ n.remove(1) }}
{{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1)]) }} {{ dict() }} {{ dict(d, z=1).z }}
{{ range(3) }} {{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {{ range(3) | length }} {{ range(5)[1] }} {{ 2 in range(3) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ range(3.5) }}
{{ list(n) }}
{{ len(n) }}
{{ str(1) }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a, b = [1, 2] %}{{ a }}{{ b }}
{% set a, b = [1, 2, 3] %}{{ a }}
{% set (a, b) = (1, 2) %}{{ a }}{{ b }}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }};{% endfor %}
{% for c in 'héy' %}{{ c }};{% endfor %}
{% for x in u %}{{ x }}{% else %}empty{% endfor %}
{% for x in none %}{{ x }}{% endfor %}
{% for x in 3 %}{{ x }}{% endfor %}
{% for x in [] %}{{ x }}{% else %}empty{% endfor %}
{% for x in n if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }};{% else %}none{% endfor %}
{% for x in n if x > 99 %}{{ x }}{% else %}none{% endfor %}
{% for x in n %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in n %}{{ loop.previtem }}|{{ loop.nextitem }};{% endfor %}
{% for x in n %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for x in n %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for x in [1, 1, 2] %}{{ loop.changed(x) }};{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}{% else %}({{ loop(x) }}){% endif %}{% endfor %}
{% for x in n %}{% for y in n %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
{% for x in n %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{% endfor %}{% endfor %}
{% for x in n %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in n %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% break %}
{% set x = 1 %}{% for i in n %}{% set x = i %}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% for i in n %}{% endfor %}{{ i }}|{{ loop }}|
{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for x in n | reverse %}{{ x }}{% endfor %} {% for x in n[1:] %}{{ x }}{% endfor %} {% for x in (1, 2) %}{{ x }}{% endfor %}
{% for i in n %}{{ loop }}{% endfor %}
"""

FILTERS = r"""
{{ '<a href="x">&\'' | e }} {{ '<' | escape }} {{ '<' | forceescape }} {{ 1 | e }} {{ none | e }}
{{ '<b>' | safe }} {{ ('<b>' | e) ~ '<i>' }} {{ ('<b>' | e) + '<i>' }} {{ '<b>' | e | e }} {{ '<b>' | e | upper }}
{{ [1, 2, 3] | sum }} {{ [] | sum }} {{ [1.5, 2] | sum }} {{ [{'a': 1}, {'a': 2}] | sum('a') }} {{ [{'a': 1}] | sum(attribute='a', start=10) }}
{{ ['a'] | sum }}
{{ [[1], [2]] | sum(start=[]) }}
{% for g in m | groupby('role') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}
{% for role, list in m | groupby('role') %}{{ role }}:{{ list | map(attribute='content') | join('+') }};{% endfor %}
{{ [{'a': 1}, {}] | groupby('a', default=0) | length }}
{{ 'aXbXc' | replace('X', '-') }} {{ 'aXbXc' | replace('X', '-', 1) }} {{ 123 | replace('2', 'x') }} {{ 'abc' | replace('b', 1) }}
{{ u | length }} {{ [] | length }} {{ 'abc' | length }} {{ d | length }} {{ n | count }}
{{ none | length }}
{{ 3 | length }}
{{ '%s-%s' | format('a', 1) }} {{ '%(x)s' | format(x=1) }} {{ '%d items' | format(3) }} {{ '%5.1f|' | format(3.14159) }}
{{ '%d' | format('a') }}
{{ 'a b&c/é?=' | urlencode }} {{ {'a': 1, 'b c': 'é'} | urlencode }} {{ [('a', 1), ('b', 2)] | urlencode }} {{ 3 | urlencode }}
{{ 'abc' | upper }} {{ 'ABC' | lower }} {{ 'abc def' | title }} {{ "it's a-b (c)" | title }} {{ 'aBC dEF' | capitalize }} {{ 1 | upper }} {{ none | lower }}
{{ ' a ' | trim }}|{{ 'xax' | trim('x') }}|{{ 5 | trim }}|{{ '\n a \n' | trim }}
{{ n | first }} {{ n | last }} {{ [] | first }}|{{ [] | last }}|{{ 'abc' | first }} {{ 'abc' | last }} {{ d | first }}
{{ u | first }}|{{ u | last }}|
{{ none | first }}
{{ n | join }} {{ n | join('-') }} {{ m | join(',', attribute='role') }} {{ [] | join }} {{ 'abc' | join('.') }} {{ [1, 'a', none] | join(', ') }} {{ u | join('x') }}
{{ none | join }}
{{ n | max }} {{ n | min }} {{ ['b', 'A'] | max }} {{ ['b', 'A'] | min(case_sensitive=true) }} {{ m | max(attribute='content') }} {{ [] | max }}|
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(case_sensitive=true) }} {{ m | sort(attribute='content') | map(attribute='role') | list }} {{ m | sort(attribute='role,content') | length }}
{{ [1, 'a'] | sort }}
{{ ['a', 'B', 'b', 'a'] | unique | list }} {{ m | unique(attribute='role') | list | length }} {{ [1, 1, 2] | unique | list }}
{{ n | reverse | list }} {{ 'abc' | reverse }}
{{ d | dictsort }} {{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }}
{{ d | items | list }} {{ u | items | list }}
{{ 'abc' | list }} {{ d | list }} {{ (1, 2) | list }} {{ u | list }} {{ range(2) | list }}
{{ none | list }}
{{ 3 | string }}|{{ none | string }}|{{ [1, 'a'] | string }}|{{ 1.0 | string }}|{{ true | string }}
{{ '3' | int }} {{ '3.7' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ '0x1f' | int(0, 16) }} {{ 3.9 | int }} {{ none | int }} {{ true | int }} {{ ' 42 ' | int }}
{{ '3.5' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ none | float }}
{{ -3 | abs }} {{ -2.5 | abs }}
{{ 'a' | abs }}
{{ 2.567 | round }} {{ 2.567 | round(2) }} {{ 2.567 | round(1, 'floor') }} {{ 2.1 | round(method='ceil') }} {{ 42 | round }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 42.55 | round | int }} {{ 1234 | round(-2) }}
{{ u | default('x') }} {{ u | d('x') }} {{ '' | default('x') }}|{{ '' | default('x', true) }} {{ none | default('x') }} {{ none | default('x', true) }} {{ u | default }}| {{ 0 | default(5, boolean=true) }}
{{ u.a | default('x') }}
{{ d.zzz | default('x') }} {{ m[0].zzz | default([], true) | length }}
{{ d | attr('k') }}|
{{ m | map(attribute='role') | list }} {{ m | map('upper') | list | length }} {{ ['a', 'b'] | map('upper') | list }} {{ m | map(attribute='zzz', default='d') | list }} {{ ['aXa'] | map('replace', 'X', 'y') | list }}
{{ m | map(attribute='zzz') | list }}
{{ m | map(attribute='a.b', default=1) | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ [[1, 2]] | map(attribute=0) | list }} {{ [[1, 2]] | map(attribute='1') | list }}
{{ n | map('zzz') | list }}
{{ n | select('odd') | list }} {{ n | reject('odd') | list }} {{ [0, 1, ''] | select | list }} {{ [0, 1, ''] | reject | list }} {{ n | select('gt', 1) | list }} {{ n | select('>', 1) | list }} {{ n | select('in', [1]) | list }} {{ n | select('divisibleby', 2) | list }}
{{ m | selectattr('role', 'equalto', 'user') | list | length }} {{ m | selectattr('role', '==', 'user') | list | length }} {{ m | rejectattr('role', 'eq', 'user') | list | length }} {{ m | selectattr('zzz') | list }} {{ m | selectattr('zzz', 'defined') | list }} {{ m | selectattr('role', 'in', ['user']) | list | length }} {{ m | rejectattr('zzz', 'defined') | list | length }}
{{ n | select('zzz') | list }}
{{ n | batch(2) | list }} {{ n | batch(2, 'x') | list }} {{ n | slice(2) | list }} {{ range(7) | slice(3, 'x') | list }}
{{ 'a\nb\n\nc' | indent }} | {{ 'a\nb' | indent(2, true) }} | {{ 'a\nb' | indent(width=1, first=true) }} | {{ 'a\n\nb' | indent(2, blank=true) }} | {{ 'a\nb' | indent('> ') }}
{{ 'one two three' | wordcount }}
{{ 'one two three four' | truncate(12) }} {{ 'one two three' | truncate(8, true) }} {{ 'abc' | truncate(10) }} {{ 'one two three four' | truncate(9, false, '!', 0) }}
{{ 'one two three' | wordwrap(7) }}
{{ 'ab' | center(6) }}|
{{ '<p>a  b</p> <!-- c -->d' | striptags }}
{{ 1234567 | filesizeformat }} {{ 100 | filesizeformat }} {{ 1 | filesizeformat }} {{ 2048 | filesizeformat(true) }}
{{ {'a': 1, 'b': none} | xmlattr }}
{{ 'see http://a.b' | urlize }}
{{ [1, {'a': 'b'}] | pprint }}
{{ n | random is number }}
{{ d | tojson }} {{ m | tojson }} {{ 'é<>&\'"\n' | tojson }} {{ 1.0 | tojson }} {{ none | tojson }} {{ true | tojson }} {{ [] | tojson }} {{ {} | tojson }} {{ 1e20 | tojson }} {{ (1, 2) | tojson }} {{ 1e-7 | tojson }}
{{ d | tojson(indent=2) }} {{ [] | tojson(indent=2) }} {{ [1, [2]] | tojson(indent=4) }} {{ {'b': 1, 'a': [2]} | tojson(sort_keys=true) }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ d | tojson(separators=(',', ':')) }} {{ d | tojson(indent='\t') }} {{ d | tojson(true) }} {{ [1] | tojson(indent=0) }}
{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}
{{ u | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ (m | map(attribute='role')) | tojson }}
{{ d.items() | tojson }}
{{ range(3) | tojson }}
{{ '\u007f\u2028\x01' | tojson }}
{{ x | zzz }}
{{ 'a' | upper | lower | trim | length }}
{{ n | sum / n | length }} {{ (n | sum) / (n | length) }} {{ -n | first }}
{% filter upper %}abc {{ 'x' }}{% endfilter %}
{% filter replace('a', 'b') | upper %}aac{% endfilter %}
{% set x | upper %}abc{% endset %}{{ x }}
{{ 'x' | split }}
{{ 'x' | lines }}
{{ 1 | bool }}
{{ [1] | chain([2]) }}
{{ [1] | zip([2]) }}
{{ '<b>' | escape | length }}
"""

TESTS = r"""
{{ raise_exception is callable }} {{ 'a'.upper is callable }} {{ 3 is callable }} {{ u is callable }} {{ range is callable }} {{ d is callable }}
{{ u is defined }} {{ d is defined }} {{ d.zzz is defined }} {{ d.k is defined }} {{ u is undefined }} {{ none is defined }} {{ none is none }} {{ u is none }}
{{ 'a' is string }} {{ 1 is string }} {{ 1 is number }} {{ 1.0 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ 1 is true }} {{ true is true }} {{ false is false }}
{{ [] is sequence }} {{ 'a' is sequence }} {{ d is sequence }} {{ () is sequence }} {{ 3 is sequence }} {{ none is sequence }} {{ u is sequence }}
{{ [] is iterable }} {{ 'a' is iterable }} {{ d is iterable }} {{ 3 is iterable }} {{ none is iterable }} {{ u is iterable }} {{ range(2) is iterable }}
{{ d is mapping }} {{ [] is mapping }} {{ 'a' is mapping }} {{ u is mapping }} {{ none is mapping }}
{{ 'a' is lower }} {{ 'A' is upper }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby(3) }} {{ 9 is divisibleby 3 }}
{{ 1 is eq(1) }} {{ 1 is equalto 1 }} {{ 1 is ne(2) }} {{ 1 is lt(2) }} {{ 2 is ge(2) }} {{ 1 is in([1]) }} {{ 'a' is in 'abc' }} {{ 1 is sameas(1) }} {{ none is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }}
{{ 'upper' is filter }} {{ 'zzz' is filter }} {{ 'odd' is test }} {{ 'zzz' is test }}
{{ 1 is zzz }}
{{ 1 is not none }} {{ not 1 is none }} {{ 'a' is not string }} {{ 3 is not even }} {{ u is not defined }}
{{ 'a' is odd }}
{{ '<' is escaped }} {{ ('<' | e) is escaped }}
{{ d is string or d is mapping and d is not none }}
{% if d.k is string %}s{% elif d.k is mapping %}m{% elif d.k is iterable %}i{% else %}o{% endif %}
"""

STATEMENTS = r"""
{% block a %}in{% endblock %} {% block b scoped %}{{ d.k }}{% endblock b %}
{% block a %}x{% endblock %}{{ self.a() }}
{% block a %}1{% endblock %}{% block a %}2{% endblock %}
{% for x in n %}{% block c scoped %}{{ x }}{% endblock %}{% endfor %}
{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}
{% set x %}a{{ 1 }}b{% endset %}{{ x }}{{ x | length }}
{% set x.y = 1 %}
{% set d.k = 1 %}
{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y is defined }}
{% set ns = namespace(x=1, y='a') %}{% for i in n %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}
{% set ns = namespace({'a': 1}) %}{{ ns.a }}
{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{{ ns.a }}{{ ns['a'] }}
{% set ns = namespace(self=1) %}{{ ns.self }}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set ns = namespace(_x=1) %}
{% set ns = namespace(x=1) %}{% set ns.x %}block{% endset %}{{ ns.x }}
{% set ns = namespace(x=1) %}{{ ns }}
{% set ns = namespace(x=1) %}{% set other = ns %}{% set other.x = 2 %}{{ ns.x }}
{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(a=5) }}{{ f(b=1, a=2) }}{{ f() }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}
{% macro f() %}{{ caller() }}!{% endmacro %}{% call f() %}hi{% endcall %}
{% macro f() %}{{ caller(1, 2) }}!{% endmacro %}{% call(a, b) f() %}{{ a }}{{ b }}{% endcall %}
{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro f(x=[]) %}{{ x }}{% endmacro %}{{ f() }}{{ f.name }}{{ f.arguments }}
{% macro f(x) %}{{ d.k }}{{ x }}{% endmacro %}{{ f('<') | upper }}{{ f(1) + 'a' }}{{ f(1) | length }}
{% macro f() %}{% set x = 5 %}{% endmacro %}{% set x = 1 %}{{ f() }}{{ x }}
{% set y = 1 %}{% macro f() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ f() }}
{{ g() }}{% macro g() %}x{% endmacro %}
{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(3) }}
{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}
{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}
{% with x = 1 %}{% with y = x %}{{ y }}{% endwith %}{% endwith %}
{% generation %}a{% endgeneration %} {%- generation -%} b {%- endgeneration -%} c
{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x }}
{% for x in n %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}
{{ '{% generation %}' }}
{% raw %}{% generation %}{{ x }}{% endgeneration %}{% endraw %}
{# {% generation %} #}a
{% generation %}
{% if true %}a{% elif u %}b{% else %}c{% endif %}
{% if u.x %}a{% endif %}
{% if u %}a{% else %}b{% endif %}{% if none %}a{% endif %}{% if 0.0 %}a{% endif %}{% if '0' %}z{% endif %}
{% raw %}{{ x }} {% if %}{% endraw %}
{% raw -%}  a  {%- endraw %}
{# comment #}a{#- b -#} c
{% autoescape true %}{{ '<' }}{% endautoescape %}{{ '<' }}
{% autoescape false %}{{ '<' }}{% endautoescape %}
{% do n.append(1) %}
{% include 'other' %}
{% import 'other' as o %}
{% from 'other' import x %}
{% extends 'other' %}
{% if %}{% endif %}
{% for %}{% endfor %}
{% endif %}
{{ }}
{{ 1
{% if true %}
{{ 'unclosed }}
{{ 1 + }}
{% zzz %}
{{ raise_exception('not like this') }}
{{ raise_exception() }}
{{ strftime_now('%Y-%m-%d %H:%M') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now("%B %-d, %Y") }} {{ strftime_now('%A %j %p %I %y %e %S %%') }}
{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}
{{ lipsum is defined }} {{ cycler is defined }} {{ joiner is defined }} {{ namespace is defined }} {{ dict is defined }} {{ range is defined }} {{ debug is defined }} {{ self is defined }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b
{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools }}{{ documents }}{{ unk_token }}
{{ messages | length }}{{ messages[0].role }}{{ m == messages }}
{{ ''.__class__ }}|
{{ ''.__class__.__mro__ }}
{{ d.__len__() }}
{{ d['__class__'] }}|
{{ namespace.__init__ }}
{{ (1).bit_length() }} {{ 3.0.is_integer() }}
{% set x = 'a' if false %}{{ x }}|{{ x is defined }}
{{ [x for x in n] }}
{{ lambda: 1 }}
{{ n if n else none }} {{ n and n[0] }}
{{ *n }}
{{ dict(**d) }} {{ dict(**{'a': 1}) }}
{{ [1, 2][0] + {'a': 3}['a'] * 2 - (4 // 3) }}
{{ m[0].content.split('\n')[0].strip().upper()[:3] }}
{{ not 1 == 2 }} {{ not (1 in n) }} {{ 1 not in n and true }}
{{ 1 is defined and 2 is number }} {{ (1 is defined) == true }}
{{ 'a' ~ 'b' == 'ab' }} {{ 1 + 1 ~ 'x' }} {{ 2 * 3 ~ 1 }}
{%+ if true %}a{% endif +%} b
{%- if true -%} a {%- endif -%} b
"""

# Several lines each, so the white space around blocks is compared too.
LINES = [
    "a\n  {% if true %}\nb\n  {% endif %}\nc\n",
    "a\n\n{% for x in n %}\n  {{ x }}\n{% endfor %}\n\nb",
    "  {%- if true %}\n  a\n  {%- endif %}\n  b",
    "  {# note #}\n  a {# note #}\n",
    "{{ 'x' }}\n\n",
    "{{ 'x' }}\n",
    "a {% if true %} b {% endif %} c\n d",
    "\t{% if true %}\n\ta\n\t{% endif %}\n",
    "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{% macro f(x) %}\n  <{{ x }}>\n{% endmacro %}\n{{ f(1) }}{{ f(2) }}",
    "{%- macro f(x) -%}\n  <{{ x }}>\n{%- endmacro -%}\n{{- f(1) -}}  {{- f(2) }}",
    "  {% generation %}\n  a\n  {% endgeneration %}\n  b",
    "{% raw %}\n  {{ a }}\n{% endraw %}\nb",
    "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n",
    "{{\n  1 +\n  2\n}}{%\n if true\n%}a{% endif %}",
    "  {%+ if true %}\n  a{%+ endif %}\n",
    "{{- ' a ' -}}  \n  b  {{- 'c' }}  \n",
    "\n\n{% if true %}a{% endif %}\n\n\n",
    "{% for x in n -%}\n  {{ x }}\n{%- endfor %}",
    "{#- a -#}\n  b\n{#- c #}\n  d",
    "{% if true %}a{% endif %}  \n{% if true %}b{% endif %}\n  \n",
    "{% for m in messages %}\n{{ m.role }}: {{ m.content }}\n{% if not loop.last %}\n\n{% endif %}\n{% endfor %}",
    "{{\n  'a'\n  ~\n  'b'\n}}{% if\n  1 ==\n  1\n%}c{% endif %}",
    "{{ n[\n  0\n  :\n  2\n] }}",
    "{% macro f(a, b=[], c={}, d=none, e='x') -%}\n  {{ a }}{{ b }}{{ c }}{{ d }}{{ e }}\n{%- endmacro %}\n[{{ f(1) }}]",
]


def constructs():
    """All of them, each once. Expressions that stand in one line are apart: one that is refused must not hide the others."""
    lines = [line for text in (OPERATORS, SUBSCRIPTS, STRINGS, LISTS, FILTERS, TESTS, STATEMENTS, EXPRESSIONS, RARE) for line in text.split("\n")]
    apart = [[line] if "{%" in line else re.split(r"(?<= }})[| ]+(?={{)", line) for line in lines if line]
    return list(dict.fromkeys([part for parts in apart for part in parts] + LINES))
