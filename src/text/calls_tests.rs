use serde_json::json;

use super::*;

fn call(name: &str, arguments: Value) -> ToolCall {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    ToolCall { id: String::new(), name: name.into(), arguments }
}

/// Words of a template, what a model writes, and the calls in it.
fn cases() -> Vec<(&'static str, &'static str, Vec<ToolCall>)> {
    let weather = || call("get_weather", json!({ "city": "Köln", "days": 2 }));
    let text = || call("write", json!({ "text": "a\nb </x> \"c\"" }));
    vec![
        (
            "<tool_call></tool_call>",
            "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Köln\", \"days\": 2}}\n</tool_call>",
            vec![weather()],
        ),
        (
            "<tool_call></tool_call>",
            "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Köln\", \"days\": 2}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\"}\n</tool_call>",
            vec![weather(), call("now", json!({}))],
        ),
        (
            "<tool_call> <function=x> <parameter=y>",
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nKöln\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
            vec![weather()],
        ),
        (
            "<tool_call> <function=x> <parameter=y>",
            "<tool_call>\n<function=write>\n<parameter=text>\na\nb </x> \"c\"\n</parameter>\n</function>\n</tool_call>",
            vec![text()],
        ),
        (
            "<tool_call>{name}<arg_key>",
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Köln</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
            vec![weather()],
        ),
        ("<tool_call>{name}<arg_key>", "<tool_call>now\n</tool_call>", vec![call("now", json!({}))]),
        (
            "<minimax:tool_call>",
            "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Köln</parameter>\n<parameter name=\"days\">2</parameter>\n</invoke>\n</minimax:tool_call>",
            vec![weather()],
        ),
        (
            "{\"name\": …, \"parameters\": …}",
            "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Köln\", \"days\": 2}}",
            vec![weather()],
        ),
        (
            "{\"name\": …, \"parameters\": …}",
            "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"get_weather\", \"parameters\": {\"city\": \"Köln\", \"days\": 2}}",
            vec![call("now", json!({})), weather()],
        ),
        (
            "[TOOL_CALLS] [ARGS]",
            "[TOOL_CALLS]get_weather[CALL_ID]a1[ARGS]{\"city\": \"Köln\", \"days\": 2}",
            vec![weather()],
        ),
        (
            "[TOOL_CALLS]",
            "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Köln\", \"days\": 2}}, {\"name\": \"now\", \"arguments\": {}}]",
            vec![weather(), call("now", json!({}))],
        ),
        (
            "[TOOL_CALLS] [ARGS]",
            "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Köln\", \"days\": 2}[TOOL_CALLS]now[ARGS]{}",
            vec![weather(), call("now", json!({}))],
        ),
        (
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Köln\", \"days\": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![weather()],
        ),
        (
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Köln\", \"days\": 2}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            vec![weather(), call("now", json!({}))],
        ),
        (
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Köln\", \"days\": 2}<|tool_call_end|><|tool_calls_section_end|>",
            vec![weather()],
        ),
    ]
}

#[test]
fn calls_are_read_as_families_write_them() {
    for (template, text, calls) in cases() {
        let format = CallFormat::detect(template).unwrap_or_else(|| panic!("{template}"));
        assert_eq!(format.begins_at(text), Some(0), "{text}");
        assert_eq!(format.read(text, Functions(&[])), calls, "{text}");
        for mark in format.marks().into_iter().filter(|mark| ![PYTHON_TAG, CALL_ID].contains(mark)) {
            assert!(text.contains(mark), "{mark} in {text}");
        }
    }
    assert_eq!(CallFormat::detect("{{ messages }}"), None);
}

#[test]
fn what_is_cut_or_broken_is_no_call_and_nothing_panics() {
    for (template, text, calls) in cases() {
        let format = CallFormat::detect(template).expect("known");
        for (end, _) in text.char_indices() {
            let read = format.read(&text[..end], Functions(&[]));
            // The end of all calls adds nothing to them.
            assert!(read.is_empty() || read == calls[..read.len()], "{}: {read:?}", &text[..end]);
            assert!(format.read(&text[end..], Functions(&[])).len() <= calls.len());
        }
    }
}

#[test]
fn text_before_a_call_is_told_from_its_beginning() {
    let hermes = CallFormat::detect("<tool_call>").expect("known");
    for (text, at) in [
        ("Let me see.", None),
        ("Let me see. <tool_call>", Some(12)),
        ("Let me see. <tool", Some(12)),
        ("a < b", None),
        ("a <", Some(2)),
        ("", None),
    ] {
        assert_eq!(hermes.begins_at(text), at, "{text:?}");
    }
    let llama = CallFormat::detect("\"parameters\":").expect("known");
    for (text, at) in [("", Some(0)), (" \n", Some(2)), ("{\"na", Some(0)), ("<|pyt", Some(0)), ("The {", None)] {
        assert_eq!(llama.begins_at(text), at, "{text:?}");
    }
}
