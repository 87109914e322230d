//! Prompts are those of transformers: of templates in the manner of well-known ones, of single constructs, and of published templates.

use super::tests::template;
use super::*;

/// `tools/golden/make_text.py` rendered these with transformers.
#[test]
fn prompts_are_those_of_transformers() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/chat.json")).unwrap();
    let date = Date { year: 2025, month: 3, day: 9, hour: 14, minute: 5, second: 6 };
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let template = template(golden["templates"][name].as_str().unwrap()).unwrap();
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        let message = |m: &Json| Message::new(text(&m["role"]), text(&m["content"]));
        let messages: Vec<Message> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let add_generation_prompt = case["add_generation_prompt"].as_bool().unwrap();
        let result = template.render_with(&messages, RenderOptions { add_generation_prompt, date: Some(date) });
        match (case["prompt"].as_str(), result) {
            (Some(prompt), Ok(text)) => assert_eq!(text, prompt, "{name}"),
            (Some(_), Err(error)) => panic!("{name}: {error}"),
            (None, Ok(text)) => panic!("{name} gave {text:?} instead of an error"),
            (None, Err(error)) => assert!(error.to_string().contains(case["error"].as_str().unwrap()), "{error}"),
        }
    }
}

/// What is refused here and not by transformers: no template that was seen has it.
const REFUSED: [&str; 21] = [
    r"{{ '%05.2f|%x|%r' % (3.14159, 255, 'q') }}",
    r"{{ -true }}",
    r"{{ +3 }}",
    r"{{ '{!r}'.format('a') }}",
    r"{{ '{:%}'.format(0.5) }}",
    r"{{ '{x}'.format_map({'x': 1}) }}",
    r"{{ 'abc'.encode() }}",
    r"{{ dict([('a', 1)]) }}",
    r"{{ 'a\nb' | indent('> ') }}",
    r"{{ 'one two three four' | truncate(12) }}",
    r"{{ 'one two three' | truncate(8, true) }}",
    r"{{ 'abc' | truncate(10) }}",
    r"{{ 'one two three four' | truncate(9, false, '!', 0) }}",
    r"{{ 'one two three' | wordwrap(7) }}",
    r"{{ '<p>a  b</p> <!-- c -->d' | striptags }}",
    r"{{ {'a': 1, 'b': none} | xmlattr }}",
    r"{{ 'see http://a.b' | urlize }}",
    r"{{ n | random is number }}",
    r"{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    r"{{ (1).bit_length() }}",
    r"{{ 3.0.is_integer() }}",
];
/// What gives another text than transformers, or a text where transformers refuses.
const OTHERWISE: [&str; 37] = [
    r"{{ d.items() | tojson }}",
    r"{{ range(3) | tojson }}",
    r"{{ '%s' % ('a', 'b') }}",
    r"{{ 'a' < 1 }}",
    r"{{ none < 1 }}",
    r"{{ u < 1 }}",
    r"{{ [1] < 'a' }}",
    r"{{ 1 in 'abc' }}",
    r"{{ none[1:] }}",
    r"{{ u[1:] }}",
    r"{{ {[1]: 2} }}",
    r"{{ n[1.0] }}|",
    r#"{{ "\N{BULLET}" }}"#,
    r"{{ d.items() }}",
    r"{{ d.keys() }}",
    r"{{ d.values() }}",
    r"{{ range(3) }}",
    r"{% for x in none %}{{ x }}{% endfor %}",
    r"{% for i in n %}{{ loop }}{% endfor %}",
    r"{{ ('<b>' | e) + '<i>' }}",
    r"{{ {'a': 1, 'b c': 'é'} | urlencode }}",
    r"{{ [('a', 1), ('b', 2)] | urlencode }}",
    r"{{ none | join }}",
    r"{{ [1, 'a'] | sort }}",
    r"{{ none | list }}",
    r"{{ d | attr('k') }}|",
    r"{{ [1, {'a': 'b'}] | pprint }}",
    r"{{ (m | map(attribute='role')) | tojson }}",
    r"{{ 'a' is odd }}",
    r"{% set ns = namespace() %}{% set ns._x = 1 %}",
    r"{% set ns = namespace(_x=1) %}",
    r"{% set ns = namespace(x=1) %}{{ ns }}",
    r"{% macro f(x=[]) %}{{ x }}{% endmacro %}{{ f() }}{{ f.name }}{{ f.arguments }}",
    r"{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(3) }}",
    r"{{ lipsum is defined }}",
    r"{{ self is defined }}",
    r"{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
];

/// `tools/golden/make_templates.py` rendered these with transformers: the same text, or a refusal.
#[test]
fn constructs_are_those_of_transformers() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/constructs.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let date = Date { year: 2025, month: 3, day: 9, hour: 14, minute: 5, second: 6 };
    let (mut wrong, mut apart) = (Vec::new(), 0);
    for case in cases {
        let root = minijinja::value::Serde(&golden["variables"]).into();
        let limits = sandbox::Limits { messages_bytes: 1000, deadline: Deadline::new(), fuel: sandbox::FUEL };
        let result = source::translated(case["template"].as_str().unwrap())
            .and_then(|source| sandbox::render(&source, root, date, limits));
        match (case["prompt"].as_str(), result) {
            (Some(prompt), Ok(text)) if text == prompt => {}
            (None, Err(_)) => {}
            (Some(_), Err(_)) if REFUSED.contains(&case["template"].as_str().unwrap()) => apart += 1,
            (_, Ok(_)) if OTHERWISE.contains(&case["template"].as_str().unwrap()) => apart += 1,
            (_, result) => wrong.push(format!("{case}\n    => {:?}", result.map_err(|error| what(&error)))),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(apart, REFUSED.len() + OTHERWISE.len(), "an exception is none any more");
}

/// Cases of `make_templates.py --published`, in the file that `TILESTREAM_TEMPLATES` names.
#[test]
fn published_templates_are_rendered_as_by_transformers() {
    let Some(path) = std::env::var_os("TILESTREAM_TEMPLATES") else { return };
    let golden: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let date = Date { year: 2025, month: 3, day: 9, hour: 14, minute: 5, second: 6 };
    let cases = golden["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let source = source::translated(golden["templates"][name].as_str().unwrap()).unwrap();
        let in_parts = case["shape"] == "parts";
        let shape = if in_parts { shape::Shape::Parts } else { shape::Shape::Text };
        let message =
            |m: &Json| json!({ "role": m["role"], "content": shape.of(&m["content"].as_str().unwrap().into()) });
        let messages: Vec<Json> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let root = json!({
            "messages": messages, "bos_token": "<s>", "eos_token": "</s>", "tools": null, "documents": null,
            "add_generation_prompt": case["add_generation_prompt"],
        });
        let limits = sandbox::Limits { messages_bytes: 1000, deadline: Deadline::new(), fuel: sandbox::FUEL };
        match (case["prompt"].as_str(), sandbox::render(&source, minijinja::value::Serde(root).into(), date, limits)) {
            (Some(prompt), Ok(text)) if text == prompt => {}
            (None, Err(_)) => {}
            // Templates for tools, without any.
            (None, Ok(_)) if case["error"] == "TypeError: 'NoneType' object is not iterable" => {}
            (expected, result) => {
                let result = result.map_err(|error| what(&error));
                wrong.push(format!("{name} {} {:?}\n    {expected:?}\n => {result:?}", case["shape"], case["error"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
