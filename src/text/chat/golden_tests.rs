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
        let options = RenderOptions { add_generation_prompt, date: Some(date), ..RenderOptions::default() };
        let result = template.render_with(&messages, &options);
        match (case["prompt"].as_str(), result) {
            (Some(prompt), Ok(text)) => assert_eq!(text, prompt, "{name}"),
            (Some(_), Err(error)) => panic!("{name}: {error}"),
            (None, Ok(text)) => panic!("{name} gave {text:?} instead of an error"),
            (None, Err(error)) => assert!(error.to_string().contains(case["error"].as_str().unwrap()), "{error}"),
        }
    }
}

/// `tools/golden/make_templates.py` rendered these with transformers: the same text, or a refusal.
#[test]
fn constructs_are_those_of_transformers() {
    let golden: Json = serde_json::from_str(include_str!("../../../tests/data/text/constructs.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    let date = Date { year: 2025, month: 3, day: 9, hour: 14, minute: 5, second: 6 };
    let mut wrong = Vec::new();
    assert!(cases.len() > 1600);
    for case in cases {
        let root = minijinja::value::Serde(&golden["variables"]).into();
        let limits = sandbox::Limits { messages_bytes: 1000, deadline: Deadline::new(), fuel: sandbox::FUEL };
        let result = source::translated(case["template"].as_str().unwrap())
            .and_then(|source| sandbox::render(&source, root, date, limits));
        match (case["prompt"].as_str(), result) {
            (Some(prompt), Ok(text)) if text == prompt => {}
            (None, Err(_)) => {}
            (_, result) => wrong.push(format!("{case}\n    => {:?}", result.map_err(|error| what(&error)))),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
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
            (expected, result) => {
                let result = result.map_err(|error| what(&error));
                wrong.push(format!("{name} {} {:?}\n    {expected:?}\n => {result:?}", case["shape"], case["error"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
