"""What a translator of expressions could get wrong: precedence, chains, brackets and quotes within each other."""

EXPRESSIONS = r"""
{{ 1 ~ 2 + 3 }}
{{ 1 + 2 ~ 3 }} {{ 1 ~ 2 * 3 ~ 4 }} {{ 'a' ~ 'b' ~ 'c' | upper }} {{ ('a' ~ 'b') | upper }} {{ 'a' ~ -1 | abs }}
{{ '2' ~ 3 == '23' }} {{ 'a' ~ 1 in ['a1'] }} {{ 'b' + 'c' in 'abcd' }} {{ 2 * 3 in n }}
{{ not 1 == 2 and 3 }} {{ not not 1 }} {{ not (1 == 1) }} {{ not 1 in n }} {{ not n is string }} {{ not u and not none }}
{{ -2 ** 2 }} {{ 2 ** -2 }} {{ - 2 ** 2 }} {{ 2 * -3 }} {{ 2 - -3 }} {{ 2 - - 3 }} {{ --3 }} {{ -+3 }} {{ +true }} {{ - n[0] }} {{ -n[0] + 1 }} {{ -(1 + 2) }} {{ -(-3) | abs }}
{{ -3.5 | round }} {{ -3 | abs + 1 }} {{ 1 - -1 | abs }} {{ -d.b[0] }} {{ -'3' | int }}
{{ 2 - 3 - 4 }} {{ 2 - (3 - 4) }} {{ 12 / 3 / 2 }} {{ 12 / (3 / 2) }} {{ 2 - 3 + 4 }} {{ 2 + 3 - 4 }} {{ 7 - 2 * 3 }} {{ (7 - 2) * 3 }} {{ 12 // 5 * 2 }} {{ 2 * 12 // 5 }} {{ 12 % 5 * 2 }} {{ 2 ** 3 * 2 }} {{ 2 * 2 ** 3 }}
{{ 1 + 2 < 4 }} {{ 1 < 2 + 1 == true }} {{ 1 < 2 < 3 < 4 }} {{ 1 < 2 > 1 }} {{ 1 == 1 in [1] }} {{ 3 > 2 == 2 }} {{ 'a' in 'ab' in ['ab'] }} {{ 1 not in [2] not in [3] }} {{ 1 < 2 == (1 < 2) }} {{ 1 != 2 != 1 }}
{{ 1 < 'a' < 2 }}
{{ 1 < 2 < 'a' }}
{{ n < [1, 'a'] }}
{{ [1, 'a'] < [1, 2] }}
{{ [[1], 2] < [[1], 3] }} {{ [] < [0] }} {{ (1,) < (1, 0) }} {{ 'é' < 'z' }} {{ 1 < true + 1 }} {{ 1.5 < 2 }} {{ false < 1 }}
{{ {} < {} }}
{{ (1,) < [1] }}
{{ u == v }} {{ [u] == [u] }} {{ {'a': 1.0} == {'a': 1} }} {{ [1, [2]] == [1, [2.0]] }} {{ 'a' | e == 'a' }}
{{ 1 if 1 else 2 if 0 else 3 }} {{ (1 if 0 else 2) + 1 }} {{ 1 + 2 if 0 else 3 + 4 }} {{ 'x' if n else 'y' ~ 'z' }} {{ 1 if 0 else 2 if 0 else 3 }} {{ 'a' if 1 == 1 and not 0 else 'b' }}
{{ ('a' if 0) ~ 'b' }} {{ (u if 1) is defined }} {{ [1 if 1 else 2, 3] }} {{ {'a': 1 if 0 else 2} }} {{ n[1 if 1 else 0] }}
{{ u or 'a' ~ 'b' }} {{ 1 and 2 or 3 }} {{ 0 or none and 1 }} {{ 1 or u.a.b }} {{ 0 and u.a.b }} {{ n and n[0] + 1 or 5 }} {{ u is defined and u.a.b }}
{{ d.b[1:] }} {{ d.b[1:2][0] }} {{ d.a.x }} {{ d['b'][0] }} {{ d.b | first }} {{ {'a': {'b': {'c': [1, 2, 3]}}}.a.b.c[1:2] }} {{ {'a': [1, 2]}['a'][::-1] }}
{{ n[0:2] + n[2:] }} {{ n[:1] ~ n[1:] }} {{ n[n[0]] }} {{ n[n | length - 1] }} {{ n[-1:] }} {{ n[3 - 1] }} {{ n[7 // 3] }} {{ n[4 / 2] }}| {{ n[2 - 1:][0] }} {{ n[:-1][-1] }} {{ 'abc'[1:][0] }} {{ ('ab' ~ 'cd')[1:3] }} {{ 'abcdef'[-3:-1] }} {{ 'abc'[3:0:-1] }} {{ 'abc'[::-2] }} {{ 'abc'[:none] }} {{ n[none:none:none] }} {{ 'abc'[true:] }}
{{ m[0].role['a':] }}
{{ m[0].role[1.0:] }}
{{ 'abc'[u:] }}
{{ x.y[1:] }}
{{ n[0][1:] }}
{{ tools[1:] }}
{{ d.items()[1:] }}
{{ (n | map('string'))[1:] }}
{{ (1, 2)[1:] }} {{ (1, 2) + (3,) }} {{ ((1, 2), [3])[0][1] }} {{ 1, 2 }} {{ (1), 2 }} {{ 1, }}
{{ 'a}}b' }} {{ '%}' }} {{ "{{ 'x' }}" }} {{ '{%' ~ '%}' }} {{ '{#' }} {{ {'}}': '{{'} }} {{ {'a': {'b': 1}}}} {{ {'a': '}'}['a'] }} {{ ['}}', "it's", '"'] | join('{%') }} {{ '\'' ~ "\"" }} {{ 'a\\' ~ 'b' }} {{ '\\\'' }}
{{ 'it''s' 'ok' }} {{ 'a' "b" | upper }} {{ ('a' 'b')[1] }}
{{ '%s' % 'a' ~ 'b' }} {{ '%s' % ('a' ~ 'b') }} {{ '%s' % n[0] + 'x' }} {{ '%s%s' % ('a', 'b') | upper }} {{ '%d' % 3.7 }} {{ '%s' % n }} {{ '%s' % [1] }} {{ '%s' % (n,) }} {{ '%5s|%-5s|' % ('a', 'b') }} {{ '%.2s' % 'abc' }} {{ '%r %r' % ('a', 1) }} {{ '%s' % none }} {{ '%s' % true }} {{ '%d' % true }} {{ '%%' % () }} {{ '%x %o %e' % (255, 8, 1.5) }} {{ '%+d % d' % (3, 4) }} {{ '%c' % 'a' }} {{ '%(k)s %(k)s' % d }} {{ 'a' % d }} {{ 'a' % n }}
{{ 'a' % 1 }}
{{ 'a' % 'b' }}
{{ '%s %s' % 'a' }}
{{ '%s %s' % ('a',) }}
{{ '%d' % 'a' }}
{{ '%d' % none }}
{{ '%z' % 1 }}
{{ '%' % 1 }}
{{ '%(zzz)s' % d }}
{{ '%(k)s' % 1 }}
{% set f = '%s-%s' %}{{ f % (1, 2) }}{{ f % ('a', n) }}
{% set f = '%s' %}{{ f % ('a', 'b') }}
{% set a = 7 %}{{ a % 4 }}{{ -a % 4 }}{{ a % -4.0 }}
{{ '<' | e ~ '>' }} {{ '<' | e + '>' }} {{ '>' + '<' | e }} {{ ('<%s>' | safe) % '<' }} {{ ('<' | e) * 2 }} {{ ('<' | e)[1:] }} {{ '<' | safe + 'a' | e }}
{% autoescape true %}{{ '<' ~ '>' }}{{ '<' | safe ~ '>' }}{{ ['<'] }}{{ '<' + '>' | e }}{% endautoescape %}
{{ [1] * 2 + [3] }} {{ [[1]] * 2 }} {{ 2 * 'ab' ~ 'c' }} {{ 'ab' * true }} {{ [1] * -1 }} {{ () * 3 }}
{{ 'a' * none }}
{{ 'a' * '2' }}
{{ {} * 2 }}
{{ range(3) * 2 }}
{{ range(2) + range(2) }}
{{ (n | map('string')) + ['a'] }}
{{ d.items() + [1] }}
{{ none ~ none }} {{ u ~ u }}| {{ [u] ~ '' }} {{ [none] ~ {'a': u} }}
{{ u + 1 }}
{{ u * 2 }}
{{ -u }}
{{ +'a' }}
{{ -none }}
{{ n + 1 }}
{{ 1 - 'a' }}
{{ 'a' - 'b' }}
{{ n - n }}
{{ 'a' / 2 }}
{{ 2 ** 'a' }}
{{ [] in {} }}
{{ 'a' in 1 }}
{{ n in d }}
{{ 1 is divisibleby 1 + 1 }} {{ 4 is divisibleby 2 and true }} {{ 4 is divisibleby(2) | string }} {{ 'a' is in ['a'] }} {{ 3 is gt 2 }} {{ 3 is not gt 5 }} {{ d.k is eq 'v' }} {{ d.k is eq('v') and 1 }} {{ 'x' if d is mapping else 'y' }} {{ n is iterable ~ 'a' }} {{ 1 is odd == true }} {{ -1 is odd }} {{ 1 + 1 is odd }} {{ u is defined or n is defined }} {{ n[0] is sameas n[0] }} {{ u is not defined | string }}
{{ 1 is eq 'a' is string }}
{{ 1 is lt 'a' }}
{{ none is odd }}
{{ n | select('lt', 'a') | list }}
{{ n | join(', ') ~ '.' }} {{ n | map('string') | join('-') | length + 1 }} {{ (n | length) * 2 }} {{ n | length * 2 }} {{ n | sum - 1 }} {{ n | first < n | last }} {{ m | selectattr('role', 'eq', 'user') | map(attribute='content') | first | trim | length }}
{{ (n | select('gt', 9)) is iterable }} {{ 'y' if n | select('gt', 9) else 'n' }} {{ (n | map('string')) is sequence }} {{ n | map('string') == n | map('string') }} {{ '2' in n | map('string') }} {{ (n | map('string'))[0] }}|
{{ n | map('string') | length }}
{{ n | select('odd') | first }} {{ n | unique | list | length }} {{ n | batch(2) | first }} {{ n | reverse | first }} {{ 'x' if [] | reverse else 'y' }} {{ 'x' if {} | items else 'y' }}
{% set g = n | map('string') %}{% for x in g %}{{ x }}{% endfor %}|{% for x in g %}{{ x }}{% endfor %}|{{ g | list }}
{% set g = n | select('odd') %}{% for x in g %}{{ loop.last }}{{ loop.index }}/{{ loop.length }};{% endfor %}
{% set g = d.items() %}{% for k, v in g %}{{ k }}{% endfor %}|{% for k, v in g %}{{ k }}{% endfor %}|{{ g | length }}
{{ d.items() | list | length }} {{ d.keys() | join }} {{ d.values() | first }} {{ 'k' in d.keys() }} {{ ('k', 'v') in d.items() }} {{ d.keys() is iterable }} {{ d.keys() is sequence }} {{ d.keys() is mapping }} {{ {}.keys() | list }} {{ 'x' if {}.items() else 'y' }} {{ d.items() | length }}
{{ d.keys()[0] }}|
{{ d.keys() | tojson }}
{{ range(5)[1:3] | list }} {{ range(5)[-1] }} {{ range(3) == range(3) }} {{ range(0) ~ '' }} {{ range(1, 9, 2) }} {{ range(3) is sequence }} {{ range(3) | sum }} {{ range(3) | last }} {{ 'x' if range(0) else 'y' }} {{ range(5, 0) | list }} {{ range(0, 5, -1) | list }} {{ range(-2, 2) | list }}
{{ range(100001) }}
{{ f(1) }}
{{ n() }}
{{ 'a'() }}
{{ d.get('z', [])[1:] }} {{ d.get('k', '').upper() }} {{ d.get('k') ~ d.get('z') }} {{ (d.get('z') or 'w') ~ 1 }} {{ dict(d, **{'q': 1}).q }} {{ dict(a=1)['a'] + 1 }} {{ dict([('a', 1), ('b', 2)], c=3) }}
{{ m[0]['content'].strip().split('\n')[-1][:4] ~ '...' }} {{ m[0].content | trim | replace('\n', ' ') | upper ~ '!' }} {{ m[-1].content[:3] }} {{ m[1:][0].role }} {{ m[::-1][0].role }} {{ (m | last).role }} {{ m | map(attribute='role') | list | last }} {{ (m[0].content ~ '').split()[0] }}
{{ 1 if n | length > 2 else 0 }} {{ (n | length > 2) ~ '' }} {{ n | length > 2 and n | first == 1 }} {{ 'a' if m[0].role == 'user' and loop is not defined else 'b' }}
{{ namespace(a=1).a + 1 }} {{ namespace(a=[1]).a[0] }} {{ (namespace(a='x')).a ~ 'y' }}
{{ {'a': 1}.a == {'a': 1}['a'] }} {{ {'a' ~ 'b': 1} }} {{ {n[0]: 'x'}[1] }} {{ {'a': 1, 'a': 2} }} {{ {(1, 2): 3} }}
{{ {n: 1} }}
{{ {d: 1} }}
{{- 1 -}} {{ 2 -}} {{- 3 }}
{{ 1 }}{# {{ 2 }} #}{{ 3 }}{#- '}} -#} {{ 4 }}
{{ '#}' }}{# "a" #}{{ "{# no #}" }}
{{1}}{{-1}}{{ -1}}{{'a'}}{{n}}{%if 1%}x{%endif%}{%set a=1%}{{a}}
{{ true and True and not false and not False and none is none and None is none }}
{{ 1 not 2 }}
{{ 1 not in }}
{{ n[1 }}
{{ (1 }}
{{ 1) }}
{{ 'a' | }}
{{ 'a' | upper( }}
{{ f(a=1, 2) }}
{{ 1 == }}
{{ == 1 }}
{{ 1 ? 2 }}
{{ a $ b }}
{{ 1 is }}
{{ d. }}
{{ d.'k' }}
{{ x = 1 }}
{{ 'a' | _cat('b') }}
{{ 1 | _kept }}
{{ 1 if }}
{{ not }}
{{ 1 2 }}
{% if 1 if 1 %}a{% endif %}
{% if not u %}a{% elif u ~ '' == '' %}b{% endif %}{% if n | length == 3 and 'a' ~ 1 == 'a1' %}c{% endif %}{% if 'x' in m[0].content or 'tile' in m[0].content %}d{% endif %}
{% if 0 %}a{% elif 1 < 2 < 3 %}b{% elif 1 %}c{% else %}d{% endif %}
{% for x in n + [4] %}{{ x }}{% endfor %}|{% for x in n if x % 2 %}{{ x }}{% endfor %}|{% for x in n if x > 1 and x < 3 %}{{ x }}{% endfor %}|{% for x in 1, 2 %}{{ x }}{% endfor %}|{% for x in n[1:] + n[:1] if not x == 2 %}{{ x }}{% else %}e{% endfor %}|{% for x in (n if 1 else []) %}{{ x }}{% endfor %}
{% for x in n if loop is not defined %}{{ x }}{% endfor %}
{% for k, v in {'a': 1}.items() | list + [('b', 2)] %}{{ k }}{{ v }}{% endfor %}{% for i, (a, b) in [(1, (2, 3))] %}{{ i }}{{ a }}{{ b }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }}{{ loop.depth }};{% endfor %}
{% for x in n recursive %}{{ loop(none) if x == 2 else x }}{% endfor %}
{% for x in d.a.x %}{{ x }}{% endfor %}
{% for x in m[0].zzz %}{{ x }}{% else %}e{% endfor %}
{% for x in true %}{{ x }}{% endfor %}
{% set a = 'x' ~ 1 + 2 %}
{% set a = 'x' ~ (1 + 2) %}{{ a }}{% set b = a if a else 'no' %}{{ b }}{% set c = [a, b][1] ~ 'z' %}{{ c }}{% set d = not a %}{{ d }}{% set e = 1 < 2 %}{{ e }}{% set t = 1, 2 %}{{ t }}
{% set a, b = n[:2] %}{{ a + b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set (a, b), c = (1, 2), 3 %}{{ a }}{{ b }}{{ c }}
{% set ns = namespace(x=1 + 1, y='a' ~ 'b') %}{% set ns.x = ns.x * 2 %}{% set ns.y = ns.y ~ ns.x %}{{ ns.x }}{{ ns.y }}
{% set x | replace('a', 'b' ~ 'c') | upper %}aa{% endset %}{{ x }}
{% with a = 1 + 1, b = 'x' ~ 'y' %}{{ a }}{{ b }}{% endwith %}
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}
{% filter replace('a', 'b' ~ 'c') | upper %}aa{% endfilter %}{% filter indent(1 + 1, first=not 0) %}x{% endfilter %}
{% macro f(a, b=a ~ '!', c=b * 2) %}{{ a }},{{ b }},{{ c }};{% endmacro %}{{ f('x') }}{{ f('x', 'y') }}{{ f('x', c='z') }}{{ f(b='q', a='p') }}
{% macro f(a=n | length, b=a + 1) %}{{ a }}{{ b }}{% endmacro %}{{ f() }}{{ f(5) }}{{ f(b=7) }}{{ f(n[0]) }}
{% macro f(a=1, b) %}{{ a }}{% endmacro %}
{% macro f(x) %}{{ x }}{{ caller(x ~ 'c') }}{% endmacro %}{% call(y, z=y ~ y) f('a' ~ 'b') %}<{{ y }}{{ z }}>{% endcall %}
{% macro f(x) %}{% if x | length < 4 %}{{ f(x ~ 'a') }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ f('') ~ '!' }}
{% macro f(a, b='x', c=b) %}[{{ a }}{{ b }}{{ c }}{{ b is defined }}]{% endmacro %}{{ f(u, u) }}{{ f(1, d.zzz, u) }}{{ f(1, b=u) }}{{ f(c=u, a=d.zzz) }}{{ f(*[1, 2]) }}{{ f(**{'b': 3}) }}{{ f(1, none) }}
{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}{{ f(u) }}{{ f(1) }}
{% macro f() %}x{% endmacro %}{{ f }}{{ f() + 'y' }}{{ f() ~ 'y' }}{{ f()[0] }}{{ f.name ~ '' }}
{{ loop }}|{{ loop.index }}
{% for a in n %}{{ loop.index0 - 1 }}{{ loop.index + 1 }}{{ loop.revindex * 2 }}{{ loop.index ~ '/' ~ loop.length }}{{ loop.index is odd }}{{ '' if loop.last else ',' }}{% endfor %}
{% for a in n %}{{ n[loop.index0 - 1] }}{{ n[loop.index0:] | length }}{{ loop.cycle('a' ~ 1, 'b') }}{% if loop.previtem is defined and loop.previtem + 1 == a %}!{% endif %}{% endfor %}
{{ 1.5 + 1 }} {{ 1.0 * 2 }} {{ 7.5 // 2 }} {{ 2 + true }} {{ true + true }} {{ 1e3 + 1 }} {{ 0.1 * 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ -7.5 % 2 }} {{ 6.0 % 3 }} {{ -6.0 % 3 }} {{ 1_0 + 0x10 }} {{ 5 % 3.0 }}
{{ 5 % 0.0 }}
{{ 'truncate me please now' | truncate(12, end='') }} {{ 'abcdefghijkl' | truncate(5, true, '', 0) }} {{ 'a b c d e f g h' | truncate(length=5, leeway=0) }}
{{ 'ab' | truncate(1, false, '....', 0) }}
{{ [1] | pprint }} {{ 'a' | pprint }} {{ {'x y': 1} | pprint }} {{ {'a"': '<'} | xmlattr }} {{ {'a': 1} | xmlattr(false) }}
{{ {'a b': 1} | xmlattr }}
{{ '{0} {0!r} {1:>4}|{a.k}|{b[1]}'.format('x', 'y', a=d, b=n) }} {{ '{!s:>3}|{:%}|{:.1%}'.format('a', 0.5, 0.256) }} {{ '{:>5}|{:,}'.format(true, 1000.5) }} {{ '{}'.format(n) }} {{ '{}'.format(none) }} {{ '{{{}}}'.format(1) }}
{{ '{:>5}'.format(n) }}
{{ '{a}'.format(b=1) }}
{{ '{'.format(1) }}
{{ '{0.zzz}'.format(d) }}
{{ [3, 1] | sort | first }} {{ ['b', 'A'] | sort ~ '' }} {{ [true, 0] | sort }} {{ [(2, 'a'), (1, 'b')] | sort }} {{ m | sort(attribute='role') | map(attribute='role') | join(',') }} {{ [2.5, 1] | min }} {{ {'b': 1, 'a': 2} | dictsort | first | first }}
{{ [none, 1] | sort }}
{{ [1, 'a'] | max }}
{{ {'a': 1, 1: 2} | dictsort }}
{{ [d, d] | sort }}
{{ [{'a': 1}, {'a': 'x'}] | sort(attribute='a') }}
{{ [{'a': 1}, {'b': 2}] | groupby('a') }}
{{ [[1], [2]] | sum(start=[]) | length }} {{ [1, 2] | sum(start=10) }} {{ [0.5, true] | sum }}
{{ 'ab' | join('<') ~ 1 }} {{ [[1], 'a', none, 1.0] | join('|') }} {{ d | join }} {{ [u, 1] | join('-') }}
{{ [1, [2, 'x']] | string }} {{ [1.0, none] | upper }} {{ ['A'] | lower }} {{ d | trim | length }} {{ [1] | replace('1', '2') }} {{ none | title }} {{ u | upper }}| {{ [1, 2] | indent }}
{{ 'a\nb\n' | indent(2) ~ '|' }} {{ 'a\n\nb' | indent(2, blank=true) }} {{ '' | indent(2, true) }}| {{ 'a\r\nb' | indent }}
{{ cycler('a', 'b').next() }} {{ lipsum is callable }} {{ self is none }}
"""
