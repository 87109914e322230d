//! Templates read what a message says in one shape or the other.

use super::*;
use crate::text::ContentPart;

fn prompt(source: &str, messages: &[Message]) -> Result<String> {
    let template = ChatTemplate::from_config(&json!({ "chat_template": source }))?.expect("there is a template");
    template.render(messages)
}

/// Walks over the parts, and takes the texts.
const PARTS: &str = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}";

#[test]
fn a_template_gets_the_shape_that_it_reads() {
    let turns = |body: &str| format!("{{% for m in messages %}}{{{{ m.role[0] }}}}:{body};{{% endfor %}}");
    let whole = "s:be kind;u:what\n<b>;a:a \"part\";u:more;";
    let table = [
        ("a text only", turns("{{ m.content }}"), whole),
        ("a text only, by concatenation", turns("{{ '' + m.content }}"), whole),
        ("a text only, by a method", turns("{{ m.content.strip() }}"), whole),
        ("parts only", turns(PARTS), whole),
        ("parts only, by their place", turns("{{ m.content[0].text }}"), whole),
        ("parts only, by their key", turns("{{ m['content'][0]['text'] }}"), whole),
        ("parts only, by a filter", turns("{{ m.content | map(attribute='text') | join }}"), whole),
        (
            "parts only, refusing texts",
            turns(&format!("{{{{ raise_exception('no') if m.content is string }}}}{PARTS}")),
            whole,
        ),
        (
            "a text only, refusing parts",
            turns("{{ raise_exception('no') if m.content is not string }}{{ m.content }}"),
            whole,
        ),
        (
            "both",
            turns(&format!("{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}{PARTS}{{% endif %}}")),
            whole,
        ),
        (
            "both, lists first",
            turns(&format!("{{% if m.content is not string %}}{PARTS}{{% else %}}{{{{ m.content }}}}{{% endif %}}")),
            whole,
        ),
        (
            "both, by iterable",
            turns(&format!(
                "{{% if m.content is mapping or m.content is not string and m.content is iterable %}}{PARTS}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
            )),
            whole,
        ),
        (
            "parts of the user, texts of the others",
            turns(&format!("{{% if m.role == 'user' %}}{PARTS}{{% else %}}{{{{ m.content + '' }}}}{{% endif %}}")),
            whole,
        ),
        (
            "a text of the user, parts of the others",
            turns(&format!("{{% if m.role == 'user' %}}{{{{ m.content + '' }}}}{{% else %}}{PARTS}{{% endif %}}")),
            whole,
        ),
        (
            "parts of the system prompt only",
            turns("{% if m.role == 'system' %}{{ m.content[0].text }}{% else %}{{ m.content | trim }}{% endif %}"),
            whole,
        ),
        ("character by character", turns("{% for c in m.content %}{{ c }}{% endfor %}"), whole),
        (
            "a length beside it",
            turns("{{ m.content | length }}{{ m.content }}"),
            "s:7be kind;u:8what\n<b>;a:8a \"part\";u:4more;",
        ),
        // What only shows the dict is no reader of parts.
        (
            "a text as JSON",
            turns("{{ m.content | tojson }}"),
            "s:\"be kind\";u:\"what\\n<b>\";a:\"a \\\"part\\\"\";u:\"more\";",
        ),
        ("nothing at all", turns(""), "s:;u:;a:;u:;"),
        (
            "no user's turns",
            turns("{% if m.role != 'user' %}{{ m.content }}{% endif %}"),
            "s:be kind;u:;a:a \"part\";u:;",
        ),
        (
            "a last turn that is the user's",
            format!("{{{{ raise_exception('no') if messages[-1].role != 'user' }}}}{}", turns(PARTS)),
            whole,
        ),
    ];
    let chat = [
        Message::system("be kind"),
        Message::user("what\n<b>"),
        Message::assistant("a \"part\""),
        Message::user("more"),
    ];
    for (name, source, expected) in table {
        let result = prompt(&source, &chat).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn parts_of_a_message_reach_a_template_that_reads_parts() {
    let each = "{% for p in m.content %}[{{ p.text }}]{% endfor %}";
    let both = format!("{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}{each}{{% endif %}}");
    let parts = |texts: &[&str]| Content::from(texts.iter().map(|text| ContentPart::from(*text)).collect::<Vec<_>>());
    for (name, body, content, expected) in [
        ("parts", each, parts(&["a", "b"]), "[a][b]"),
        ("one part", each, parts(&["a"]), "[a]"),
        ("no parts", each, parts(&[]), ""),
        ("a text", each, "ab".into(), "[ab]"),
        ("parts for a text", "{{ m.content }}", parts(&["a ", "b"]), "a b"),
        ("no parts for a text", "<{{ m.content }}>", parts(&[]), "<>"),
        ("a text for a text", "{{ m.content }}", "ab".into(), "ab"),
        ("parts for what takes both", &both, parts(&["a", "b"]), "ab"),
    ] {
        let source = format!("{{% for m in messages %}}{body}{{% endfor %}}");
        for role in ["system", "user", "assistant"] {
            let message = Message::new(role, content.clone());
            let chat = if role == "user" { vec![message] } else { vec![message, Message::user("")] };
            let result = prompt(&source, &chat).unwrap_or_else(|error| panic!("{name}: {error}"));
            let own = prompt(&source, &chat[1..]).unwrap_or_default();
            assert_eq!(result.strip_suffix(&own), Some(expected), "{name} of the {role}");
        }
    }
}

#[test]
fn a_template_that_refuses_a_role_still_refuses_it() {
    let source = format!(
        "{{% for m in messages %}}{{% if m.role == 'system' %}}{{{{ raise_exception('no system') }}}}{{% endif %}}{PARTS}{{% endfor %}}"
    );
    assert_eq!(prompt(&source, &[Message::user("hi")]).unwrap(), "hi");
    let error = prompt(&source, &[Message::system("be kind"), Message::user("hi")]).unwrap_err();
    assert!(error.to_string().contains("no system"), "{error}");
}
