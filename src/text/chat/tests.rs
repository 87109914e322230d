use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

pub(super) fn template(source: &str) -> Result<ChatTemplate> {
    let config =
        json!({ "chat_template": source, "bos_token": "<s>", "eos_token": { "content": "</s>", "lstrip": false } });
    Ok(ChatTemplate::from_config(&config)?.expect("there is a template"))
}

fn render(source: &str) -> Result<String> {
    template(source)?.render(&[Message::user("hello")])
}

#[test]
fn finds_the_template_in_a_config() {
    let named = |name: &str, text: &str| json!({ "name": name, "template": text });
    let table = [
        (json!({}), None),
        (json!({ "chat_template": null }), None),
        (json!({ "chat_template": [] }), None),
        (json!({ "chat_template": "a" }), Some("a")),
        (json!({ "chat_template": [named("tool_use", "t"), named("default", "d")] }), Some("d")),
        (json!({ "chat_template": [named("rag", "r"), named("tool_use", "t")] }), Some("r")),
    ];
    for (config, expected) in table {
        let found = ChatTemplate::from_config(&config).unwrap().map(|template| template.render(&[]).unwrap());
        assert_eq!(found.as_deref(), expected, "{config}");
    }
    for wrong in [json!({ "chat_template": 3 }), json!({ "chat_template": [{ "name": "default" }] })] {
        let error = ChatTemplate::from_config(&wrong).unwrap_err();
        assert_eq!((error.kind(), error.file_name()), (ErrorKind::Text, Some("chat_template")));
    }
}

#[test]
fn the_date_is_todays_unless_it_is_given() {
    let source = "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d') }}{% endif %}";
    let today = |date: Date| format!("{:04}-{:02}-{:02}", date.year, date.month, date.day);
    let before = today(Date::now());
    let rendered = render(source).unwrap();
    // Midnight may pass meanwhile.
    assert!([before, today(Date::now())].contains(&rendered), "{rendered}");
    let on = |date: &str| RenderOptions { date: Some(date.parse().unwrap()), ..RenderOptions::default() };
    assert_eq!(template(source).unwrap().render_with(&[], &on("2024-02-29")).unwrap(), "2024-02-29");
    assert!(template("{{ strftime_now('%Q') }}").unwrap().render_with(&[], &on("2024-02-29")).is_err());
}

#[test]
fn a_template_gets_values_of_its_own_variables() {
    let source = "{{ enable_thinking | default(true) }} {{ documents }} {{ budget + 1 }} {{ bos_token }}";
    let values = [("enable_thinking", json!(false)), ("budget", json!(6)), ("bos_token", json!("<own>"))];
    let arguments = TemplateArguments::new(values.map(|(name, value)| (name.to_owned(), value))).unwrap();
    let options = RenderOptions { arguments, ..RenderOptions::default() };
    assert_eq!(template(source).unwrap().render_with(&[], &options).unwrap(), "False None 7 <own>");
    for name in ["messages", "tools", "add_generation_prompt", "documents", "", "a b", "2x", "a.b"] {
        let error = TemplateArguments::new([(name.to_owned(), json!(1))]).unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.to_string().contains(&format!("'{name}'")), "{error}");
    }
}

#[test]
fn errors_name_the_line() {
    let table = [
        ("a\n{% if %}", "line 2"),
        ("\n\n{{ nothing.at.all }}", "line 3"),
        ("\n{{ raise_exception('not like this') }}", "line 2: not like this"),
        ("{{ messages[0].content.frobnicate() }}", "line 1"),
        ("{% for a in 3 %}{% endfor %}", "line 1"),
        ("{{ 1 + 'a' }}", "number and string"),
        ("{{ messages | frobnicate }}", "frobnicate"),
        ("\n{% include 'other' %}", "line 2"),
        ("{% import 'os' as s /o%}", "line 1"),
        ("{% set a.b = 1 %}", ""),
        ("{{ 'a'\n ~ 'b'\n + 1 }}", "line 3"),
        ("{{\n messages\n[0].content\n[\n1:\n]\n ~ nothing.a.b }}", "line 7"),
        ("{% macro f(a,\n b=[1,\n2]) %}\n{{ b\n.x.y }}{% endmacro %}{{ f() }}", "line 4"),
        ("a\n{{ 1 +\n }}", "line 2"),
        ("a\n{{ 'b", "line 2"),
        ("{{ a | _kept }}", "begin with _"),
        ("{{ 'abc'.encode() | int }}", "decode them"),
        ("{{ \"\\N{BULLET POINT}\" }}", "\\uXXXX"),
        ("{% macro f() %}{% call f() %}{{ varargs }}{% endcall %}{% endmacro %}", "no varargs"),
        ("{{ a ? b }}", "'?'"),
    ];
    for (source, expected) in table {
        let error = render(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Text, "{source}");
        assert!(error.file_name().is_some_and(|file| file.ends_with("chat_template")), "{source}: {error}");
        assert!(error.to_string().contains(expected), "{source}: {error}");
        assert!(error.to_string().contains("`Tokenizer::encode`"), "{error}");
    }
}

#[test]
fn works_as_python_does() {
    let table = [
        (
            "{{ 'abc'[::-1] }}{{ 'abc'[1:] }}{{ 'abc'[-2:] }}{{ 'abc'[:-1] }}{{ 'abc'[5:] }}{{ 'añb'[1:2] }}",
            "cbabcbcabñ",
        ),
        ("{{ [1, 2, 3][::2] }}{{ [1, 2, 3][:0:-1] }}", "[1, 3][3, 2]"),
        (
            "{{ 'a,b,,c'.split(',') }}{{ ' a  b c '.split() }}{{ ' a  b c '.split(none, 1) }}",
            "['a', 'b', '', 'c']['a', 'b', 'c']['a', 'b c ']",
        ),
        ("{{ 'aXbX'.replace('X', '-', 1) }}{{ 'abc'.removeprefix('a').removesuffix('c') }}", "a-bXb"),
        ("{{ 'aaa'.count('a') }}{{ 'aaa'.count('') }}{{ 'x'.join(['a', 'b']) }}", "34axb"),
        ("{{ {'b': 1, 'a': [none, true, 'q']} }}", "{'b': 1, 'a': [None, True, 'q']}"),
        ("{{ bos_token ~ [\"it's\", 'a\"b'] }}", "<s>[\"it's\", 'a\"b']"),
        (
            "{{ {'b': 1, 'a': 2} | tojson }}{{ {1: 'é\\n\\x01', none: []} | tojson(ensure_ascii=true) }}",
            "{\"b\": 1, \"a\": 2}{\"1\": \"\\u00e9\\n\\u0001\", \"null\": []}",
        ),
        ("{{ [1, {'a': []}] | tojson(indent=1) }}", "[\n 1,\n {\n  \"a\": []\n }\n]"),
        ("{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}", "{\"a\":2,\"b\":1}"),
        ("{{ 3 * 'ab' }}{{ [0] * 2 }}{{ -1 * 'ab' }}{{ 2 * 3 + 1.5 }}", "ababab[0, 0]7.5"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1}.get('b', 2) }}", "a12"),
        (
            "{{ dict(a=1)['a'] }}{{ namespace(x=2).x }}{{ range(3) | list }}{{ range(4, 0, -2) | join('-') }}",
            "12[0, 1, 2]4-2",
        ),
        (
            "{{ 'a' in 'cat' }}{{ 'x' not in ['y'] }}{{ 'role' in messages[0] }}{{ 'x' is in ['x'] }}",
            "TrueTrueTrueTrue",
        ),
        (
            "{{ messages[0].role == 'user' and messages | length == 1 }}{{ tools is none }}{{ x is defined }}",
            "TrueTrueFalse",
        ),
        ("{{ ['b', 'a', 'b'] | unique | sort | join }}{{ [3, 1] | max }}{{ ' a ' | trim ~ 'B' | lower }}", "ab3ab"),
        ("{{ 'two words' | title }}{{ 'aB' | capitalize }}{{ 'l1\nl2' | indent(2) }}", "Two WordsAbl1\n  l2"),
        ("{{ bos_token }}{{ eos_token }}{{ unk_token }}", "<s></s>"),
        (
            "{% set ns = namespace() %}{% set ns.a = [ns.b is defined] %}{{ ns.a }}{% set x %}cap{{ 1 }}{% endset %}{{ x }}",
            "[False]cap1",
        ),
        ("{%- generation -%} a {%- endgeneration %}{% generation %}b{% endgeneration %}", "ab"),
        (
            "{% for i in [1, 2, 3, 4] if i % 2 == 0 %}{{ loop.index }}{{ i }}{{ loop.last }}{% else %}none{% endfor %}",
            "12False24True",
        ),
        (
            "{% macro f(x, y=2) %}{{ x }}{{ y }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(3) %}c{% endcall %}",
            "1232c",
        ),
        ("{% raw %}{{ x }}{% endraw %}{# no #}\n  {% if true %}\nx\n  {% endif %}\ny\n", "{{ x }}x\ny"),
    ];
    for (source, expected) in table {
        match render(source) {
            Ok(text) => assert_eq!(text, expected, "{source}"),
            Err(error) => panic!("{source}: {error}"),
        }
    }
}

#[test]
fn a_hostile_template_ends_soon_with_an_error() {
    let grow = |step: &str| {
        format!("{{% set n = namespace(x='0123456789', l=[1]) %}}{{% for i in range(99999) %}}{step}{{% endfor %}}")
    };
    // A list that holds the same one in many places.
    let wide_of = |inner: &str| format!("(([u] * 9999) | map('default', {inner}) | list)");
    let wide = |rest: &str| format!("{{{{ W {rest} }}}}").replace('W', &wide_of(&wide_of("[1] * 9999")));
    let table = [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{{ range(1000000000) | list }}".to_owned(),
        "{{ 'x' * 99999999 }}{{ 'x' * 99999999 }}{{ 'x' * 99999999 }}".to_owned(),
        "{{ messages[0].content * 99999999999 }}".to_owned(),
        "{{ messages * 99999999999 }}".to_owned(),
        grow("{% set n.x = n.x + n.x %}"),
        grow("{% set n.x = n.x ~ n.x %}"),
        grow("{% set n.x = n.x.replace('1', n.x) %}"),
        grow("{% set n.x = n.x | replace('1', n.x) %}"),
        grow("{% set n.x = n.x | join(n.x) %}"),
        grow("{% set n.x = [n.x, n.x] | join %}"),
        grow("{% set n.x = n.x.join(n.x) %}"),
        grow("{% set n.x = (n.x, n.x) | string %}"),
        grow("{% set n.x = [n.x, n.x] | upper %}"),
        grow("{% set x %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = x %}"),
        grow("{% set n.l = n.l + n.l %}"),
        grow("{% set n.l = [n.l] %}"),
        grow("{% set n.l = {'a': n.l} %}"),
        grow("{% set n.l = dict(a=n.l) %}"),
        grow("{% set n.l = namespace(a=n.l) %}"),
        grow("{% set n.l = [loop] %}"),
        grow("{% macro f() %}{{ n.l }}{% endmacro %}{% set n.l = [f] %}"),
        grow("{% set n.l = n.l | map('list') %}{% set n.l = [n.l] | list %}"),
        grow("{% set n.x = n %}"),
        format!("{}{{{{ n.l == n.l }}}}", grow("{% set n.l = [n.l, n.l] %}")),
        format!(
            "{{% set a = [1] %}}{}{{{{ a == b }}}}",
            "{% set a = [a, a, a, a, a, a, a, a] %}{% set b = [a, a] %}".repeat(15)
        ),
        format!("{{% set a = [1] %}}{}{{{{ a }}}}", "{% set a = [a, a, a, a, a, a, a, a] %}".repeat(15)),
        format!("{{% set a = [1] %}}{}{{{{ a | tojson }}}}", "{% set a = [a, a, a, a, a, a, a, a] %}".repeat(15)),
        format!("{{% set a = [1] %}}{}{{{{ a in [a] }}}}", "{% set a = [a, a, a, a, a, a, a, a] %}".repeat(15)),
        format!("{{% set a = [1] %}}{}{{{{ [a, a] | sort }}}}", "{% set a = [a, a, a, a, a, a, a, a] %}".repeat(15)),
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('0123456789') }}".to_owned(),
        "{% for m in [[1]] recursive %}{{ loop([m]) }}{% endfor %}".to_owned(),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(50_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(50_000)),
        format!("{{{{ x{} }}}}", "|trim".repeat(50_000)),
        format!("{{{{ {}x }}}}", "not ".repeat(40_000)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(10_000)),
        format!("{}{}", "{% if a %}".repeat(10_000), "{% endif %}".repeat(10_000)),
        format!("{{% for i in range(99999) %}}{}{{% endfor %}}", "text ".repeat(20_000)),
        format!("{{% set x %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endset %}}", "text ".repeat(20_000)),
        "a".repeat(300_000),
        "{{ 'x' | indent(99999999999) }}".to_owned(),
        "{{ '%99999999999d' % 3 }}".to_owned(),
        "{{ '{:99999999999}'.format(3) }}".to_owned(),
        "{{ 'x'.ljust(99999999999) }}".to_owned(),
        "{% for m in messages %}{{ loop.cycle() }}{% endfor %}".to_owned(),
        "{{ 9 ** 9 ** 9 ** 9 }}".to_owned(),
        "{% block a %}{{ self.a() }}{% endblock %}".to_owned(),
        format!("{{% set a = [1] %}}{}{{{{ a ~ 'x' }}}}", "{% set a = [a, a, a, a, a, a, a, a] %}".repeat(15)),
        format!("{{% set a = [1] %}}{}{{{{ a ~ 'x' }}}}", "{% set a = a + a %}".repeat(30)),
        format!("{{% set a = [1] %}}{}", "{% set a = [a] %}".repeat(12_000)),
        "{% set a = ['x' * 100000] * 99999999 %}{{ a ~ 'x' }}".to_owned(),
        grow("{% set n.x = '%s%s' % (n.x, n.x) %}"),
        grow("{% set n.x = n.x | tojson %}"),
        "{{ messages | tojson(indent=99999999999) }}".to_owned(),
        // What is made within one expression, and never kept.
        "{{ (['x' * 100000] * 99999999) ~ 'x' }}".to_owned(),
        "{{ [[[['x' * 1000] * 1000] * 1000] * 1000] * 1000 }}".to_owned(),
        "{% for m in [messages] recursive %}{{ loop([m + m]) }}{% endfor %}".to_owned(),
        "{% for m in [messages] recursive %}{{ loop([[m, m]]) }}{% endfor %}".to_owned(),
        "{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f([1]) }}".to_owned(),
        "{% macro f(x, y=[x, x]) %}{{ f(y) }}{% endmacro %}{{ f([1]) }}".to_owned(),
        "{% macro f(x) %}{% for y in [[x, x]] %}{{ f(y) }}{% endfor %}{% endmacro %}{{ f([1]) }}".to_owned(),
        "{% macro f(x) %}{% with y = [x, x] %}{{ f(y) }}{% endwith %}{% endmacro %}{{ f([1]) }}".to_owned(),
        "{% macro f(x) %}{{ f({'a': x, 'b': x}) }}{% endmacro %}{{ f([1]) }}".to_owned(),
        grow("{% set n.l = n.l[0:] %}{% set n.l = [n.l] | map('default') %}"),
        wide("== W"),
        wide("in [W]"),
        wide("| sort"),
        wide("| unique | list"),
        wide("| sum(start=[]) | length"),
        wide("| join"),
        wide("| upper"),
        wide("| urlencode"),
        wide("| pprint"),
        wide("| groupby('a') | length"),
        "{{ {'a': 1}[WW] }}".replace("WW", &wide_of("W")).replace('W', &wide_of("[1] * 9999")),
        "{{ {(WW,): 1} }}".replace("WW", &wide_of("W")).replace('W', &wide_of("[1] * 9999")),
        "{{ [WW].count(WW) }}".replace("WW", &wide_of("W")).replace('W', &wide_of("[1] * 9999")),
        "{{ '%s' % ([W],) }}".replace('W', &wide_of("[1] * 9999")),
        "{{ '{}'.format(W) }}".replace('W', &wide_of("[1] * 9999")),
        "{% autoescape true %}{{ W }}{% endautoescape %}".replace('W', &wide_of("[1] * 9999")),
        "{% macro f() %}{{ f(varargs, varargs) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% macro f() %}{{ f(a=kwargs, b=kwargs) }}{% endmacro %}{{ f(a=1) }}".to_owned(),
        // One step that is long.
        "{{ ('ab.com ' * 100000) | urlize(target='x' * 1000000) }}".to_owned(),
        "{{ ('a ' * 400000) | urlize(extra_schemes=['abc:'] * 9999) }}".to_owned(),
        "{{ ('a ' * 100000) | wordwrap(1, true, 'x' * 1000000) }}".to_owned(),
        "{{ ('&a;' * 9999999) | striptags | length }}".to_owned(),
        "{{ ('x' * 30000000).encode() | length }}".to_owned(),
        "{{ messages | batch(10 ** 9, 'x') | list }}".to_owned(),
        "{{ 'x' | indent(10 ** 9) }}".to_owned(),
        "{{ ('x\n' * 100000) | indent('y' * 1000000) }}".to_owned(),
        "{{ ('a' * 10000000).replace('a', 'b' * 10000000) }}".to_owned(),
        "{{ ('a' * 10000000) | replace('', 'b' * 10000000) }}".to_owned(),
        "{{ [1, 2] | map('replace', '', 'x' * 30000000) | list }}".to_owned(),
        "{{ ('%s' * 1000000) % (['x' * 1000000] * 1000000) }}".to_owned(),
        "{{ ('{0}' * 1000000).format('x' * 1000000) }}".to_owned(),
        "{{ '%.99999999999f' % 1 }}".to_owned(),
        "{{ 'x' | center(10 ** 9) }}".to_owned(),
        "{{ ([1] * 9999) | tojson(separators=('x' * 1000000, 'y')) }}".to_owned(),
        "{{ ('x' * 30000000) | list | length }}".to_owned(),
        "{% set a = 'x' * 10000000 %}{% for i in range(99999) %}{% if a == a ~ '' %}{% endif %}{% endfor %}".to_owned(),
        "{% for i in range(99999) %}{% if messages * 3000 == messages * 3000 %}{% endif %}{% endfor %}".to_owned(),
    ];
    for source in table {
        let started = Instant::now();
        // The stack of a thread, which is smaller than that of `main`.
        let run = std::thread::spawn(move || (render(&source), source));
        let (result, source) = run.join().expect("no panic");
        let shown = &source[..source.len().min(160)];
        let error = result.err().unwrap_or_else(|| panic!("no error for {shown}"));
        assert_eq!(error.kind(), ErrorKind::Text, "{shown}: {error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?} for {shown}", started.elapsed());
    }
}

/// What the limits just let through must fit the stack of a small thread, such as a browser's worker has.
#[test]
fn the_deepest_template_that_is_allowed_does_not_overflow() {
    let table = [
        format!("{{{{ {}x }}}}", "x ~ ".repeat(490)),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(490)),
        format!("{{{{ x{} }}}}", " if x else x".repeat(70)),
        format!("{{{{ a is defined and a{} }}}}", ".a".repeat(490)),
        format!("{{{{ bos_token{} }}}}", "|trim".repeat(490)),
        format!("{{{{ {}x }}}}", "not ".repeat(140)),
        format!("{{{{ {}1{} }}}}", "(".repeat(140), ")".repeat(140)),
        format!("{{% set a = [1] %}}{{{{ {}a{} }}}}", "[".repeat(30), "]".repeat(30)),
        format!("{{{{ {}1{} }}}}", "[".repeat(140), "]".repeat(140)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(100)),
        format!("{}x{}", "{% if true %}".repeat(140), "{% endif %}".repeat(140)),
        format!("{}x{}", "{% for m in messages %}".repeat(90), "{% endfor %}".repeat(90)),
        "{% macro f(x) %}{{ f(x ~ 1) if x | length < 1000 }}{% endmacro %}{{ f('') }}".to_owned(),
        "{% macro f() %}{{ f(1, x=2) }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f(x) %}{% call g(x) %}{{ f(x) }}{% endcall %}{% endmacro %}{% macro g(x) %}{{ caller() }}{% endmacro %}{{ f('') }}".to_owned(),
    ];
    for source in table {
        let run = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            // Some are refused at last, by minijinja's own limits. Only the stack matters here.
            let _ = render(&source);
        });
        run.unwrap().join().expect("no panic");
    }
}

/// Filters that look at each character take a time that grows with the text, and not faster.
#[test]
fn long_texts_are_filtered_soon() {
    let table = [
        "{{ ('a' * 100000) | wordwrap(1) | length }}",
        "{{ ('a-' * 50000) | wordwrap(3) | length }}",
        "{{ ('ab-cd' * 30000) | wordwrap(3) | length }}",
        "{{ ('a--' * 100000) | wordwrap(9999999) | length }}",
        "{{ ('-' * 100000) | wordwrap(2) | length }}",
        "{{ (' ' * 300000) | wordwrap(3) | length }}",
        "{{ ('\u{a0}' * 150000) | wordwrap(3, false) | length }}",
        "{{ ('<' * 300000) | striptags | length }}",
        "{{ ('<!--' * 75000) | striptags | length }}",
        "{{ ('<a>' * 100000) | striptags | length }}",
        "{{ ('&' * 300000) | striptags | length }}",
        "{{ ('&#' ~ '9' * 300000) | striptags | length }}",
        "{{ ('&abcdefgh;' * 30000) | striptags | length }}",
        "{{ ('(' * 300000) | urlize | length }}",
        "{{ ('<' * 75000) | urlize | length }}",
        "{{ ('a.' * 150000) | urlize | length }}",
        "{{ ('a@' * 150000) | urlize | length }}",
        "{{ ('http://a.bc/' ~ '(' * 150000 ~ ')' * 150000) | urlize | length }}",
        "{{ ('http://[' ~ '1:' * 150000) | urlize | length }}",
        "{{ ('ab.com ' * 5000) | urlize | length }}",
    ];
    for source in table {
        let started = Instant::now();
        render(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?} for {source}", started.elapsed());
    }
}

#[test]
fn a_long_chat_is_no_attack() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/chat.json")).unwrap();
    let turn = |index: usize| {
        let content = "word ".repeat(400);
        if index.is_multiple_of(2) { Message::user(content) } else { Message::assistant(content) }
    };
    let messages: Vec<Message> = (0..1001).map(turn).collect();
    for (name, source) in golden["templates"].as_object().unwrap() {
        let prompt = template(source.as_str().unwrap()).unwrap().render(&messages);
        assert!(prompt.unwrap_or_else(|error| panic!("{name}: {error}")).len() > 1_000_000, "{name}");
    }
}

/// Fragments of templates, so that many of the random ones compile.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = proptest::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{%-",
        "-%}",
        "{#",
        "#}",
        " for ",
        " in ",
        " if ",
        " endif ",
        " endfor ",
        " set ",
        "x",
        "y",
        " = ",
        "messages",
        "[0]",
        "[1:]",
        "[::-1]",
        ".content",
        ".role",
        "|",
        "trim",
        "tojson",
        "join",
        "length",
        "sort",
        "map",
        "list",
        "(",
        ")",
        "'a'",
        "'é'",
        "1",
        "-1",
        "0",
        "9223372036854775807",
        "1.5",
        " + ",
        " - ",
        " * ",
        " / ",
        " // ",
        " % ",
        " ** ",
        " ~ ",
        " == ",
        " < ",
        " not ",
        " and ",
        " is ",
        "none",
        "true",
        "defined",
        "odd",
        "divisibleby",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        ".split",
        ".strip",
        ".count",
        ".replace",
        ".items",
        "()",
        "namespace",
        "range",
        "loop",
        ".index",
        " macro ",
        " endmacro ",
        "round",
        "abs",
        "int",
        "\n",
        "raw",
        "endraw",
        "\\",
        "\u{1f600}",
        " else ",
    ]);
    proptest::collection::vec(fragment, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_template_panics(source in prop_oneof![fragments(), "\\PC{0,60}", fragments().prop_map(|e| format!("{{{{ {e} }}}}"))]) {
        let _ = render(&source);
    }

    #[test]
    fn expressions_of_numbers_do_not_panic(
        a in prop_oneof![any::<i64>(), -3i64..3], b in prop_oneof![any::<i64>(), -3i64..3],
        operator in proptest::sample::select(vec!["+", "-", "*", "/", "//", "%", "**", "<", "==", "~"]),
    ) {
        for (a, b) in [(a.to_string(), b.to_string()), (format!("{a}.0"), b.to_string()), (a.to_string(), "x".into())] {
            let _ = render(&format!("{{% set x = {a} %}}{{{{ x {operator} {b} }}}}{{{{ 'abc'[x:{b}] }}}}"));
            let _ = render(&format!("{{{{ {a} {operator} {b} }}}}{{{{ {a} | round({b}) }}}}{{{{ {a} is divisibleby({b}) }}}}"));
        }
    }
}

#[test]
fn a_template_decides_where_reasoning_stands() {
    let source = "{% for m in messages %}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
                  {% if m.thinking is defined %}[{{ m.thinking }}]{% endif %}{{ m.content }}|{% endfor %}";
    let template = ChatTemplate::from_config(&json!({ "chat_template": source })).unwrap().unwrap();
    let thought = Message { reasoning: Some("why".into()), ..Message::assistant("so") };
    let render = |messages: &[Message]| template.render(messages).unwrap();
    assert_eq!(render(&[Message::user("hi"), thought]), "hi|<think>why</think>[why]so|");
    assert_eq!(render(&[Message::user("hi"), Message::assistant("so")]), "hi|so|");
}
