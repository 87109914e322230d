"""Constructs that few templates have: filters that wrap, strip and link texts, bytes, macros with any arguments, slices of constants."""

WRAPPING = r"""
{{ 'one two three' | wordwrap(7) }} {{ 'one two three' | wordwrap(5) }} {{ 'one two three' | wordwrap }} {{ '' | wordwrap(3) }}| {{ 'a' | wordwrap(1) }} {{ '   ' | wordwrap(2) }}|
{{ 'abcdefghij klm' | wordwrap(4) }} {{ 'abcdefghij klm' | wordwrap(4, false) }} {{ 'ab abcdefghij' | wordwrap(3) }} {{ 'ab  abcdefghij' | wordwrap(3) }} {{ 'a abcdefghij b' | wordwrap(3, false) }}
{{ 'well-known co-op e-mail a-b-c x-1' | wordwrap(5) }} {{ 'well-known co-op' | wordwrap(5, true, none, false) }} {{ 'well-known co-op' | wordwrap(5, break_on_hyphens=false) }} {{ 'well-known co-op' | wordwrap(5, break_on_hyphens=1) }} {{ 'well-known' | wordwrap(7, break_long_words=false) }}
{{ 'yes -- no--maybe---so -- -x --y' | wordwrap(6) }} {{ 'a--b' | wordwrap(1) }} {{ '-----' | wordwrap(2) }} {{ '--a-bc-de' | wordwrap(3) }} {{ 'a----------' | wordwrap(4) }}
{{ 'aaa bbb\nccc ddd\r\n\neee\x0bfff\x1cggg\x85hhh' | wordwrap(4) }} {{ 'a b\n' | wordwrap(9) }}| {{ '\n\n' | wordwrap(3) }}| {{ 'a\tb c\td' | wordwrap(3) }}
{{ '日本語 日本語テキスト' | wordwrap(4) }} {{ 'é́é é-éé ü' | wordwrap(3) }} {{ 'a\u00a0b c\u3000d' | wordwrap(3) }} {{ '😀😀 😀😀😀' | wordwrap(2) }} {{ 'कि-का की' | wordwrap(3) }}
{{ 'one two three' | wordwrap(7, true, '|') }} {{ 'one two three' | wordwrap(7, wrapstring='<br>' | safe) }} {{ '<a> <b>' | wordwrap(3, wrapstring='<br>' | safe) }} {{ 'one two' | wordwrap(3, wrapstring='') }} {{ 'a\nb' | wordwrap(3, wrapstring=', ') }} {{ ('<a> <b>' | safe) | wordwrap(3) }} {{ ('<a>' | safe | wordwrap(3)) is escaped }}
{{ '"Hi," he said--"no." Mr. O\'Neil-Smith (x-y)' | wordwrap(8) }} {{ 'see http://a-b.cd/ef-gh?i-jk=l' | wordwrap(9) }} {{ 'a_b-c_d_e-f1-g2' | wordwrap(4) }} {{ 'a-b' | wordwrap(2) }} {{ 'ab-cd' | wordwrap(3) }} {{ 'a-bc' | wordwrap(2) }}
{{ m[0].content | wordwrap(6) }} {{ m | map(attribute='content') | map('wordwrap', 5) | join('/') }} {{ 'one two' | wordwrap(width=3) | length }} {{ 'a b' | wordwrap(true) }}
{{ 'a' | wordwrap(0) }}
{{ 'a' | wordwrap(-1) }}
{{ '' | wordwrap(0) }}|
{{ 'a' | wordwrap('x') }}
{{ 5 | wordwrap(3) }}
{{ n | wordwrap(3) }}
{{ u | wordwrap(3) }}
{{ none | wordwrap(3) }}
{{ 'a b' | wordwrap(1, true, 5) }}
{{ 'a b' | wordwrap(1, true, '|', true, 1) }}
"""

STRIPPING = r"""
{{ '<p>a  b</p> <!-- c -->d' | striptags }} {{ '' | striptags }}| {{ '<>' | striptags }}| {{ '<b>x</b>' | striptags }} {{ 'a<br/>b' | striptags }} {{ 'a <i>b</i> c' | striptags }}
{{ '<a href="x>y">z</a>' | striptags }} {{ '<a<b>c>d' | striptags }} {{ '<<b>>' | striptags }} {{ 'a < b > c' | striptags }} {{ 'a <b' | striptags }} {{ '1 > 0' | striptags }} {{ '<p><b><i>deep</i></b></p>' | striptags }}
{{ '<!-- a > b -->c' | striptags }} {{ '<!-- a' | striptags }} {{ '<!--->x-->y' | striptags }} {{ '<!-->y' | striptags }} {{ 'a<!-- <b> -->c<!---->d' | striptags }} {{ '<!- x>y' | striptags }}
{{ '\n a \t b\x1cc\u00a0d \u3000 e\n' | striptags }}| {{ ' ' | striptags }}| {{ 'é<b>日本</b>😀' | striptags }}
{{ '&lt;b&gt; &amp;amp; &quot;x&quot; &#39;y&#39; &apos;' | striptags }} {{ '&AMP &COPY; &REG &LT;' | striptags }} {{ '&nbsp;&copy;&eacute;&yuml;&times;&frac12;&THORN;' | striptags }} {{ 'a&nbsp;&nbsp;b' | striptags }}
{{ '&hellip;&mdash;&rarr;&alpha;&NotEqualTilde;&bne;&ngE;&CounterClockwiseContourIntegral;' | striptags }} {{ '&notit; &notin; &notin &not; &amplify &ampx; &ltgt &copyright;' | striptags }} {{ '&zzz; &; & && &a &ab; &x&amp;' | striptags }} {{ '&HELLIP; &Amp; &hellip' | striptags }} {{ '&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; &é;' | striptags }}
{{ '&#65;&#x41;&#X41;&#65 &#x41g &#; &#x; &#xg;' | striptags }} {{ '&#0;&#13;&#128;&#x80;&#159;&#129;' | striptags }} {{ '&#xd800;&#x110000;&#99999999999;' | striptags }} {{ '[&#1;&#8;&#11;&#12;&#31;&#127;&#xfdd0;&#xfffe;&#x1ffff;&#x10ffff;]' | striptags }} {{ '&#000065;&#x1F600;' | striptags }}
{{ ('<b>&lt;' | safe) | striptags }} {{ ('<b>' | e) | striptags }} {{ ('<b>x' | safe | striptags) is escaped }} {{ '&lt;b&gt;' | striptags | striptags }} {{ 5 | striptags }} {{ none | striptags }} {{ u | striptags }}| {{ ['<b>', 'c'] | striptags }} {{ d | striptags }}
{{ m[2].content | striptags }} {{ m | map(attribute='content') | map('striptags') | join('|') }} {% autoescape true %}{{ '<b>&lt;i&gt;' | striptags }}{% endautoescape %}
{{ 'a' | striptags(1) }}
"""

LINKING = r"""
{{ 'see http://a.b' | urlize }} {{ 'see http://a.bc and https://x.yz/p?q=1#f.' | urlize }} {{ '' | urlize }}| {{ 'no link' | urlize }} {{ 'http://localhost http://com http://a http://é.fr http://a.é' | urlize }}
{{ 'www.a.bc www.com www.x WWW.A.BC' | urlize }} {{ 'a.com a.b.org x.com a.info a.de ab.de b.mil/p ab.com:80 ab.com:80/x ab.com:123456 AB.COM' | urlize }} {{ '-a.com %41b.com a_b.net é-é.edu' | urlize }}
{{ 'http://1.2.3.4 https://1.2.3.4:8080/p 1.2.3.4 http://1.2.3 http://1234.1.1.1 http://1.2.3.4.5' | urlize }} {{ 'http://[::1] http://[1:2:3:4:5:6:7:8]/x http://[::ffff:0]:80 http://[:1] http://[g::1] http://[12345::] http://[1:2:33334444:5]' | urlize }}
{{ '(http://a.bc) <http://a.bc> http://a.bc, http://a.bc. http://a.bc; http://a.bc! (see http://a.bc).' | urlize }} {{ 'http://a.bc/(x) (http://a.bc/(x)) http://a.bc/((x)). http://a.bc/(x),) ((www.a.bc))' | urlize }} {{ 'http://a.bc/<x> <<http://a.bc>> http://a.bc/x>.' | urlize }} {{ '[http://a.bc] "http://a.bc" http://a.bc/"x" \'http://a.bc\'' | urlize }}
{{ 'a@b.cd mailto:a@b.cd a@b @a@b.cd a@b@c.de a.b+c@d-e.fg. (x@y.zz) a@-b.cd a@b.c-d www.a@b.cd x:a@b.cd' | urlize }} {{ 'mailto:a@b.cd?cc=x mailto:x MAILTO:a@b.cd é@é.fr a@b.1 a@b..cd a@b._' | urlize }}
{{ 'http://a.bc/' ~ 'x' * 30 | urlize(15) }} {{ ('http://a.bc/' ~ 'x' * 30) | urlize(15) }} {{ 'http://a.bc/xyz' | urlize(0) }} {{ 'http://a.bc/xyz' | urlize(-4) }} {{ 'http://a.bc/x&y' | urlize(15) }} {{ 'http://a.bc' | urlize(11) }} {{ 'a@b.cd' | urlize(2) }} {{ 'http://a.bc/xyz' | urlize(trim_url_limit=12) }}
{{ 'http://a.bc' | urlize(none, true) }} {{ 'http://a.bc a@b.cd' | urlize(nofollow=true, target='_blank') }} {{ 'http://a.bc' | urlize(target='"<') }} {{ 'http://a.bc' | urlize(target='') }} {{ 'http://a.bc' | urlize(rel='z a noopener  b') }} {{ 'http://a.bc' | urlize(rel='<"', nofollow=1) }} {{ 'http://a.bc' | urlize(rel='') }}
{{ 'git:x git://a ftp://b.c ftp: tel:1' | urlize(extra_schemes=['git:', 'ftp://', 'tel:']) }} {{ 'ab:/x ab:/' | urlize(extra_schemes=('ab:/',), target='t', rel='r') }} {{ 'git:x' | urlize(extra_schemes=[]) }} {{ 'git:x' | urlize(extra_schemes=none) }} {{ '(git:x).' | urlize(extra_schemes=['git:']) }} {{ 'a+b.c-d:x' | urlize(extra_schemes=['a+b.c-d:']) }} {{ 'mailto:x' | urlize(extra_schemes=['mailto:']) }}
{{ 'git:x' | urlize(extra_schemes=['git']) }}
{{ 'git:x' | urlize(extra_schemes=['g:']) }}
{{ 'git:x' | urlize(extra_schemes=['git:///']) }}
{{ 'git:x' | urlize(extra_schemes='git:') }}
{{ 'git:x' | urlize(extra_schemes=[1]) }}
{{ 'git:x' | urlize(extra_schemes=5) }}
{{ 'http://a.bc' | urlize('x') }}
{{ 'http://a.bc' | urlize(zzz=1) }}
{{ ' a\n\thttp://a.bc \x1cwww.b.cd\u3000x.com\u00a0y ' | urlize }}| {{ '<b>http://a.bc</b> &amp; http://a.bc/?x=1&y=2' | urlize }} {{ ('<b> http://a.bc/?x=1&amp;y=2 <http://x.yz>' | safe) | urlize }} {{ '日本 http://日本.jp/語 www.日本.jp' | urlize }} {{ 'http://xn--abc.xn--d1 http://a.xn--e-f http://xn--a' | urlize }} {{ 'httpſ://a.bc http://a.ſK www.ıa' | urlize }}
{{ 5 | urlize }} {{ none | urlize }} {{ u | urlize }}| {{ ['http://a.bc'] | urlize }} {{ ('http://a.bc' | urlize) is escaped }} {{ m[2].content | urlize }} {{ m | map(attribute='content') | map('urlize') | join('|') }}
{{ 'http://user@a.bc http://a.bc:x http://a.bc:80x http://a.bc?x http://a.bc#x http://a..bc http://.bc http://a.b1 http://a.bc. http://a-.bc http://%20.bc http://a.bc\\' | urlize }}
"""

CHOOSING = r"""
{{ n | random is number }} {{ n | random in n }} {{ [7] | random }} {{ [5, 5, 5] | random }} {{ 'aaa' | random }} {{ (2,) | random }} {{ range(1) | random }} {{ [] | random }}| {{ '' | random }}| {{ () | random }}| {{ {} | random }}| {{ ([] | random) is defined }} {{ {0: 'x'} | random }} {{ [n, n] | random }} {{ u | random }}| {{ [[4]] | map('random') | list }}
{{ d | random }}
{{ 5 | random }}
{{ none | random }}
{{ (n | map('string')) | random }}
{{ {'a': 1}.keys() | random }}
{{ n | random(1) }}
"""

BYTES = r"""
{{ 'abc'.encode() }} {{ 'é"日\n\\\x00\x7f'.encode() }} {{ "it's".encode() }} {{ '\'"'.encode() }} {{ ''.encode() }} {{ '\t\r~ '.encode() }} {{ ['a'.encode(), 'b'.encode()] }} {{ {'a': 'b'.encode()} }} {{ 'a'.encode() ~ 'b' }} {{ '%s' % 'a'.encode() }} {{ '{}'.format('a'.encode()) }} {{ 'a'.encode() | string }} {{ 'a'.encode() | pprint }}
{{ 'é'.encode('utf-8') }} {{ 'é'.encode('latin-1') }} {{ 'a'.encode('ascii') }} {{ 'é'.encode(encoding='UTF8') }} {{ 'é'.encode('utf_8', 'strict') }} {{ 'é'.encode().decode() }} {{ 'é'.encode('latin-1').decode('latin-1') }} {{ 'é'.encode().decode('latin-1') }} {{ 'a'.encode().decode('utf-8', 'strict') }} {{ 'a'.encode().decode(encoding='ascii') }} {{ 'é'.encode().hex() }} {{ ''.encode().decode() }}|
{{ 'abc'.encode() | length }} {{ 'é'.encode() | length }} {{ 'abc'.encode()[0] }} {{ 'abc'.encode()[-1] }} {{ 'abc'.encode()[9] }}| {{ 'abc'.encode()[1:] }} {{ 'abc'.encode()[::-1] }} {{ 'abc'.encode()['a'] }}| {{ 'abc'.encode() | first }} {{ 'abc'.encode() | last }} {{ 'abc'.encode() | list }} {{ 'abc'.encode() | sum }} {{ 'abc'.encode() | reverse | list }} {{ 'abc'.encode() | join('-') }} {{ 'ab'.encode() | upper }} {{ 'ab'.encode() | max }} {{ 'a'.encode() | random }} {{ 'ab'.encode() | map('string') | join }}
{% for x in 'ab'.encode() %}{{ x }};{% endfor %}{% for x in ''.encode() %}{{ x }}{% else %}none{% endfor %}{% set a, b = 'xy'.encode() %}{{ a + b }}{% set x = 'q'.encode() %}{{ x }}{{ x.decode() }}{% if ''.encode() %}y{% else %}n{% endif %}
{{ 'a'.encode() is string }} {{ 'a'.encode() is sequence }} {{ 'a'.encode() is iterable }} {{ 'a'.encode() is mapping }} {{ 'a'.encode() is number }} {{ 'a'.encode() is callable }} {{ 'a'.encode() is lower }} {{ 'a'.encode() == 'a' }} {{ 'a'.encode() == 'a'.encode() }} {{ 'a'.encode() == [97] }} {{ 'a'.encode() != 'b'.encode() }} {{ 97 in 'a'.encode() }} {{ 98 in 'a'.encode() }} {{ 'a'.encode() in ['a'] }} {{ 'a'.encode() in ['a'.encode()] }} {{ not ''.encode() }} {{ 'a'.encode() or 'b' }}
{{ 'é'.encode('ascii') }}
{{ '日'.encode('latin-1') }}
{{ 'é'.encode('latin-1').decode() }}
{{ 'é'.encode().decode('ascii') }}
{{ 'a'.encode('zzz') }}
{{ 'a'.encode(1) }}
{{ 'a'.encode().zzz() }}
{{ 'a'.encode() + 'b' }}
{{ 'b' + 'a'.encode() }}
{{ 'a' in 'a'.encode() }}
{{ 300 in 'a'.encode() }}
{{ 'a'.encode() in 'a' }}
{{ 'a'.encode() < 'b' }}
{{ 'a'.encode() - 1 }}
{{ 'a'.encode() | tojson }}
{{ 'a'.encode() | abs }}
{{ 'a'.encode() | wordwrap }}
{{ 'a'.encode() | indent }}
{{ 'a'.encode() | urlencode }}
{{ 'a'.encode() | items | list }}
{{ 'a'.encode() | xmlattr }}
{{ '%d' % 'a'.encode() }}
{{ ''.join('a'.encode()) }}
{{ 'a'.encode()['a':] }}
{{ 'a'.encode()() }}
{{ 'a'.encode() | truncate }} {{ 'a'.encode() | striptags }} {{ 'a'.encode() | urlize }} {{ '<'.encode() | e }} {{ 'a b'.encode() | replace('a', 'x') }} {{ 'a b'.encode() | wordcount }} {{ 'a'.encode() | trim }} {{ 'a'.encode() | title }} {{ [1, 2] | truncate }} {{ u | truncate }}|
{{ ('abc' * 99).encode() | truncate }}
{{ 5 | truncate }}
{{ none | truncate }}
{{ [1] | xmlattr }}
{{ 'ab' | xmlattr }}
"""

MACROS = r"""
{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}
{% macro f(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ f() }}{{ f(1) }}{{ f(1, 2) }}{{ f(1, 2, 'x', none) }}{{ f(a=5) }}
{% macro f() %}{{ kwargs }}{% endmacro %}{{ f() }}{{ f(x=1, y='z') }}{{ f(**d) }}
{% macro f(a) %}{{ varargs }}{% endmacro %}{{ f(1, x=2) }}
{% macro f(a) %}{{ kwargs }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ kwargs }}{% endmacro %}{{ f(1, a=2) }}
{% macro f(a) %}{{ varargs }}{% endmacro %}{{ f(1, a=2) }}
{% macro f(a, b=2, c=a) %}{{ a }},{{ b }},{{ c }},{{ varargs }},{{ kwargs }};{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, 5, 6) }}{{ f(1, x=2, b=7) }}{{ f(u, u, u, u, x=u) }}{{ f(*n, **{'q': 1}) }}{{ f(*[1, 2, 3, 4]) }}
{% macro f() %}{% for x in varargs %}{{ x }}{{ loop.last }};{% endfor %}{% for k, v in kwargs.items() %}{{ k }}={{ v }};{% endfor %}{{ varargs | length }}{{ kwargs | length }}{% endmacro %}{{ f(1, 2, b=1, a=2) }}{{ f() }}
{% macro f(x) %}{{ x }}{% if varargs %}|{{ f(*varargs) }}{% endif %}{% endmacro %}{{ f(1, 2, 3) }}
{% macro f(a) %}{{ varargs[0] }}{{ kwargs.x }}{{ kwargs['x'] }}{{ varargs is sequence }}{{ kwargs is mapping }}{{ varargs == (2,) }}{% endmacro %}{{ f(1, 2, x=3) }}
{% macro f() %}{{ varargs }}{{ caller('c') }}{{ kwargs }}{% endmacro %}{% call(x) f(1, y=2) %}<{{ x }}>{% endcall %}
{% macro f() %}{{ varargs }}{{ caller is defined }}{% endmacro %}{{ f(1) }}{% call f(1, 2) %}x{% endcall %}
{% macro f() %}{{ varargs }}{% endmacro %}{% call f(1) %}x{% endcall %}
{% macro f() %}{{ kwargs | length }}{{ kwargs.caller() }}{% endmacro %}{% call f() %}x{% endcall %}
{% macro f(varargs) %}{{ varargs }}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}
{% macro f(varargs) %}{{ varargs }}{% endmacro %}{{ f(1) }}
{% macro f(kwargs=3) %}{{ kwargs }}{% endmacro %}{{ f() }}{{ f(kwargs=4) }}
{% macro f(kwargs=3) %}{{ kwargs }}{% endmacro %}{{ f(x=4) }}
{% macro f() %}{% set varargs = 1 %}{{ varargs }}{% endmacro %}{{ f() }}
{% macro f() %}{% set varargs = 1 %}{{ varargs }}{% endmacro %}{{ f(2) }}
{% macro f() %}{{ varargs }}{% set varargs = 1 %}{{ varargs }}{% endmacro %}{{ f(2) }}
{% macro f() %}{% for varargs in n %}{{ varargs }}{% endfor %}{% endmacro %}{{ f() }}
{% macro f() %}{% for varargs in n %}{{ varargs }}{% endfor %}{% endmacro %}{{ f(1) }}
{% macro f() %}{% for x in varargs if x in varargs %}{{ x }}{% endfor %}{% endmacro %}{{ f(1, 2) }}
{% macro f() %}{{ d.varargs }}{{ {'varargs': 1} }}{{ dict(varargs=2) }}{{ 'varargs' }}{% endmacro %}{{ f() }}
{% macro f() %}{{ d.varargs }}{% endmacro %}{{ f(1) }}
{% macro f() %}{{ dict(kwargs=2) }}{% endmacro %}{{ f(x=1) }}
{% macro f() %}{% macro g() %}{{ varargs }}{% endmacro %}{{ g(1, 2) }}{% endmacro %}{{ f() }}{{ f(3) }}
{% macro f() %}{% macro g(varargs) %}{{ varargs }}{% endmacro %}{{ g(1) }}{% endmacro %}{{ f(3) }}
{% macro f() %}{{ varargs }}{% macro g() %}{{ kwargs }}{% endmacro %}{{ g(a=1) }}{% endmacro %}{{ f(1) }}
{% macro f() %}{# varargs #}x{% endmacro %}{{ f(1) }}
{% macro f() %}{% raw %}{{ varargs }}{% endraw %}{% endmacro %}{{ f() }}
{% macro f() %}{% raw %}{{ varargs }}{% endraw %}{% endmacro %}{{ f(1) }}
{% macro f(a) %}{{ varargs }}{% endmacro %}{{ f }}{{ f.name }}{{ f.arguments }}{{ f.catch_varargs }}{{ f.catch_kwargs }}{{ f.caller }}{{ f('<', '>') | length }}
{% macro f(a) %}{{ varargs }}{% endmacro %}{% set g = f %}{{ g(1, 2) }}{{ [f][0](1, 3) }}{{ {'f': f}.f(1, 4) }}
{% if true %}{% macro f() %}{{ varargs }}{% endmacro %}{{ f(1) }}{% endif %}{% for x in n %}{% macro g() %}{{ varargs }}{{ x }}{% endmacro %}{{ g(x) }}{% endfor %}
{{ varargs }}|{{ kwargs }}|{{ varargs is defined }}
{% macro f() %}{{ varargs is defined }}{{ kwargs is defined }}{% endmacro %}{{ f() }}
{% macro f() %}{{ 1 if varargs else 2 }}{{ kwargs | tojson }}{{ varargs | tojson }}{{ varargs | list }}{{ varargs | first }}{% endmacro %}{{ f() }}{{ f(n, a=d) }}
{% macro f(a,) %}{{ a }}{{ varargs }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a, b=1) %}{{ kwargs }}{{ b }}{% endmacro f %}{{ f(1, c=2) }}{{ f(b=3, a=1, c=kwargs) }}
{% macro f() %}{% with varargs = 2 %}{{ varargs }}{% endwith %}{% endmacro %}{{ f() }}
{% macro f() %}{% set x = dict(varargs=1) %}{{ x }}{{ kwargs }}{% endmacro %}{{ f(q=1) }}
{% macro f() %}{% filter upper %}{{ varargs }}{% endfilter %}{% if kwargs %}y{% endif %}{% endmacro %}{{ f('a', b=1) }}
{% macro f(a) %}{% call g(a) %}{{ a }}{% endcall %}{{ varargs }}{% endmacro %}{% macro g(x) %}{{ caller() }}{{ kwargs }}{% endmacro %}{{ f(1, 2) }}
"""

CONSTANTS = r"""
{{ none[1:] }}| {{ none[:] }}| {{ 3[1:] }}| {{ true[1:] }}| {{ 1.5[::2] }}| {{ {}[1:] }}| {{ {'a': 1}[1:] }}| {{ none['a':] }}| {{ 'abc'['a':] }}| {{ 'abc'[1.0:] }}| {{ [1, 2]['a':] }}| {{ none[none:] }}| {{ none[::0] }}| {{ (none if 1)[1:] }}| {{ (none | upper)[1:] }} {{ (none | default(3))[1:] }}| {{ (1 == 1)[1:] }}| {{ (3 | abs)[1:] }}| {{ (1 + 2)[1:] }}| {{ (-3)[1:] }}| {{ (not 1)[1:] }}|
{{ none[1:] is defined }} {{ none[1:] is none }} {{ none[1:] ~ 'a' }} {{ [none[1:]] }} {{ none[1:] | length }} {{ none[1:] | default('x') }} {{ none[1:] or 'b' }} {{ 'x' if none[1:] else 'y' }} {{ {'a': none}.a[1:] }}| {{ [none][0][1:] }}| {{ (none, 1)[1:] }} {{ (1 is odd)[1:] }}| {{ ('a' ~ 1)['x':] }}| {{ 'a' | replace('a', none[1:]) }}| {{ 1, none[1:] }} {{ ('ba' | list | reverse)[1:] }}| {{ (1 is not none)[1:] }}| {{ (2 | string)['x':] }}|
{{ none[1:].x }}
{{ none[1:][2:] }}
{{ none[1:]() }}
{{ -none[1:] }}
{{ none[u:] }}
{{ none[n[0]:] }}
{{ 'abc'[u:] }}
{{ 'abc'[::0] }}
{{ 'abc'['a'::0] }}
{{ dict()[1:] }}
{{ none.a[1:] }}
{{ u[1:] }}
{{ 'a'.upper()['x':] }}
{{ n['a':] }}
{{ (n | first)[1:] }}
{{ ([none] | map('upper'))[1:] }}
{{ none[1:] ~ n }}
{% if none[1:] %}a{% endif %}
{% set x = none[1:] %}
{% for x in none[1:] %}x{% endfor %}
"""

NAMES = r"""
{{ "\N{BULLET}" }} {{ '\\N{BULLET}' }}
{{ "\N{NO SUCH NAME}" }}
{{ "\N" }}
"""

RARE = WRAPPING + STRIPPING + LINKING + CHOOSING + BYTES + MACROS + CONSTANTS + NAMES
