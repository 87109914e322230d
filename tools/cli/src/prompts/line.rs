//! One line of the input: what it may say, and what it comes to with the command's options.

use serde::Deserialize;
use serde_json::{Value, json};
use tilestream::{Error, ErrorKind, GenerateOptions, Message, ModelText, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::turns::Turn;

/// A line as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<Value>,
    prompt: Option<String>,
    messages: Option<Vec<Turn>>,
    ids: Option<Vec<u32>>,
    system: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Option<Stop>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "'stop' must be a text or a list of texts")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// What the command says for all lines.
pub struct Defaults {
    pub options: GenerateOptions,
    pub system: Option<String>,
    /// Prompts are taken as they are, without the chat template.
    pub raw: bool,
    /// Everything else that an answer depends on: the model, and how numbers are rounded.
    pub model: String,
}

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Ask {
    Ids(Vec<u32>),
    Text(String),
    Chat(Vec<Message>),
}

/// A line that can be answered.
#[derive(Debug)]
pub struct Job {
    pub id: Option<Value>,
    ask: Ask,
    pub options: GenerateOptions,
    /// Changes with everything that the answer depends on.
    pub key: String,
}

impl Job {
    /// # Errors
    /// [`ErrorKind::Malformed`] where the line is not one of ours, naming what is unknown; [`ErrorKind::Argument`] for values
    /// out of range.
    pub fn parse(line: &str, defaults: &Defaults) -> Result<Self> {
        let mut line: Line = serde_json::from_str(line)
            .map_err(|error| Error::new(ErrorKind::Malformed, format!("is not a prompt: {error}")))?;
        let mut options = defaults.options.clone();
        let sampler = &mut options.sampler;
        set(&mut options.max_tokens, line.max_tokens);
        set(&mut sampler.temperature, line.temperature);
        set(&mut sampler.top_k, line.top_k.map(|k| k as usize));
        set(&mut sampler.top_p, line.top_p);
        set(&mut sampler.min_p, line.min_p);
        set(&mut sampler.repetition_penalty, line.repetition_penalty);
        set(&mut sampler.seed, line.seed);
        sampler.validate()?;
        let stop = line.stop.take().map(|stop| match stop {
            Stop::One(text) => vec![text],
            Stop::Many(texts) => texts,
        });
        set(&mut options.stop, stop);
        let id = line.id.take();
        let ask = Ask::of(line, defaults)?;
        let key = key(&ask, &options, defaults);
        Ok(Self { id, ask, options, key })
    }

    /// The ids of the prompt.
    ///
    /// # Errors
    /// Those of the tokenizer and of the template.
    pub fn prompt(self, text: &ModelText) -> Result<Vec<u32>> {
        match self.ask {
            Ask::Ids(ids) => Ok(ids),
            Ask::Text(prompt) => text.tokenizer()?.encode(&prompt, true),
            Ask::Chat(messages) => text.chat_prompt(&messages),
        }
    }
}

impl Ask {
    fn of(line: Line, defaults: &Defaults) -> Result<Self> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Malformed, message));
        let mut messages = match (line.prompt, line.messages, line.ids) {
            (None, None, Some(ids)) if line.system.is_none() => return Ok(Self::Ids(ids)),
            (None, None, Some(_)) => return refuse("has 'ids', to which no 'system' can be added"),
            (Some(prompt), None, None) if defaults.raw && line.system.is_none() => return Ok(Self::Text(prompt)),
            (Some(_), None, None) if defaults.raw => return refuse("has a 'system', and --raw takes no chat template"),
            (Some(prompt), None, None) => vec![Message::user(prompt)],
            (None, Some(_), None) if defaults.raw => return refuse("has 'messages', and --raw takes no chat template"),
            (None, Some(turns), None) => turns.into_iter().map(Turn::message).collect::<Result<Vec<_>>>()?,
            _ => return refuse("needs one of 'prompt', 'messages' and 'ids'"),
        };
        if messages.is_empty() {
            return refuse("has no message");
        }
        let told = messages.iter().any(|message| message.role == "system");
        if told && line.system.is_some() {
            return refuse("has a 'system' beside a message of that role");
        }
        if let Some(system) = line.system.or(defaults.system.clone()).filter(|_| !told) {
            messages.insert(0, Message::system(system));
        }
        Ok(Self::Chat(messages))
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// The `id` of a line, even of one that is no prompt.
pub fn id_of(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok()?.get("id").filter(|id| !id.is_null()).cloned()
}

fn key(ask: &Ask, options: &GenerateOptions, defaults: &Defaults) -> String {
    let ask = match ask {
        Ask::Ids(ids) => json!({ "ids": ids }),
        Ask::Text(text) => json!({ "text": text }),
        Ask::Chat(messages) => json!({ "messages": messages.iter().map(Turn::of).collect::<Vec<_>>() }),
    };
    let sampler = &options.sampler;
    // Without a temperature nothing is drawn.
    let seed = (sampler.temperature > 0.0).then_some(sampler.seed);
    let mut meaning = json!([
        defaults.model,
        ask,
        options.max_tokens,
        options.stop,
        options.ignore_eos,
        sampler.temperature,
        sampler.top_k,
        sampler.top_p,
        sampler.min_p,
        sampler.repetition_penalty,
        seed,
    ]);
    if let (Some(grammar), Value::Array(meaning)) = (&options.grammar, &mut meaning) {
        meaning.push(format!("{:?}", grammar.source()).into());
    }
    format!("{:016x}", xxh3_64(meaning.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use tilestream::{Content, ContentPart};

    use super::*;

    fn defaults() -> Defaults {
        Defaults { options: GenerateOptions::default(), system: None, raw: false, model: "m".into() }
    }

    fn parse(line: &str) -> Result<Job> {
        Job::parse(line, &defaults())
    }

    #[test]
    fn a_line_may_set_every_option_of_sampling() {
        let job = parse(
            r#"{"id": 7, "prompt": "a", "max_tokens": 3, "temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1,
                "repetition_penalty": 1.2, "seed": 18446744073709551615, "stop": "x", "system": null}"#,
        )
        .expect("a job");
        let sampler = &job.options.sampler;
        assert_eq!((job.options.max_tokens, sampler.top_k, sampler.seed), (3, 4, u64::MAX));
        assert_eq!((sampler.temperature, sampler.top_p, sampler.min_p), (0.5, 0.9, 0.1));
        assert_eq!((sampler.repetition_penalty, job.options.stop), (1.2, vec!["x".to_owned()]));
        let job = parse(r#"{"ids": [1], "stop": ["x", "y"]}"#).expect("a job");
        assert_eq!((job.ask, job.options.stop.len()), (Ask::Ids(vec![1]), 2));
    }

    #[test]
    fn system_prompts_come_from_the_line_before_the_command() {
        let told = Defaults { system: Some("be brief".into()), ..defaults() };
        let ask = |line: &str| Job::parse(line, &told).expect(line).ask;
        let chat = |system: &str| Ask::Chat(vec![Message::system(system), Message::user("a")]);
        assert_eq!(ask(r#"{"prompt": "a"}"#), chat("be brief"));
        assert_eq!(ask(r#"{"prompt": "a", "system": "be long"}"#), chat("be long"));
        assert_eq!(ask(r#"{"messages": [{"role": "user", "content": "a"}]}"#), chat("be brief"));
        let own = r#"{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "a"}]}"#;
        assert_eq!(ask(own), chat("own"));
    }

    #[test]
    fn a_content_may_be_parts_that_are_texts() {
        let ask = |content: &str| parse(&format!(r#"{{"messages": [{{"role": "user", "content": {content}}}]}}"#));
        let chat = |content: Content| Ask::Chat(vec![Message::user(content)]);
        let parts =
            |texts: &[&str]| Content::from(texts.iter().map(|text| ContentPart::from(*text)).collect::<Vec<_>>());
        for (content, expected) in [
            (r#""a""#, "a".into()),
            (r#"[{"type": "text", "text": "a"}]"#, parts(&["a"])),
            (r#"[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]"#, parts(&["a", "b"])),
            ("[]", parts(&[])),
        ] {
            assert_eq!(ask(content).expect(content).ask, chat(expected), "{content}");
        }
        for (content, says) in [
            (r#"[{"type": "image_url", "image_url": {"url": "x"}}]"#, "\"image_url\""),
            (r#"[{"type": "input_audio", "input_audio": {}}]"#, "\"input_audio\""),
            (r#"[{"text": "a"}]"#, "without a type"),
            (r#"["a"]"#, "must be a text, or a list"),
            ("{}", "must be a text, or a list"),
        ] {
            let error = ask(content).expect_err(content).to_string();
            assert!(error.contains(says) && error.contains("\"text\""), "{content}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        for (line, says) in [
            ("", "is not a prompt"),
            ("{", "is not a prompt"),
            ("[1]", "is not a prompt"),
            ("{}", "'prompt', 'messages' and 'ids'"),
            (r#"{"prompt": "a", "ids": [1]}"#, "needs one of"),
            (r#"{"prompt": "a", "temprature": 1}"#, "temprature"),
            (r#"{"prompt": "a", "prompt": "b"}"#, "prompt"),
            (r#"{"prompt": "a", "temperature": -1}"#, "temperature is -1"),
            (r#"{"prompt": "a", "top_p": 0}"#, "top-p is 0"),
            (r#"{"prompt": "a", "seed": -4}"#, "-4"),
            (r#"{"prompt": "a", "stop": 4}"#, "'stop' must be"),
            (r#"{"messages": []}"#, "no message"),
            (r#"{"messages": [{"role": "robot", "content": "a"}]}"#, "'robot'"),
            (r#"{"messages": [{"role": "system", "content": "a"}], "system": "b"}"#, "'system'"),
            (r#"{"ids": [1], "system": "b"}"#, "'ids'"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
        let raw = Defaults { raw: true, ..defaults() };
        for line in [r#"{"prompt": "a", "system": "b"}"#, r#"{"messages": [{"role": "user", "content": "a"}]}"#] {
            assert!(Job::parse(line, &raw).expect_err(line).to_string().contains("--raw"), "{line}");
        }
    }

    #[test]
    fn a_key_tells_apart_what_gives_another_answer() {
        let key = |line: &str| parse(line).expect(line).key;
        let plain = key(r#"{"prompt": "a"}"#);
        for same in [
            r#" { "prompt":"a" , "id": "x"}"#,
            r#"{"messages": [{"role": "user", "content": "a"}]}"#,
            r#"{"prompt": "a", "seed": 9}"#,
            r#"{"prompt": "a", "max_tokens": 256}"#,
        ] {
            assert_eq!(key(same), plain, "{same}");
        }
        let others = [
            r#"{"prompt": "b"}"#,
            r#"{"ids": [1]}"#,
            r#"{"prompt": "a", "system": "b"}"#,
            r#"{"prompt": "a", "max_tokens": 2}"#,
            r#"{"prompt": "a", "stop": "b"}"#,
            r#"{"prompt": "a", "temperature": 1}"#,
            r#"{"prompt": "a", "temperature": 1, "seed": 1}"#,
            r#"{"prompt": "a", "top_k": 3}"#,
            r#"{"prompt": "a", "top_p": 0.5}"#,
            r#"{"prompt": "a", "min_p": 0.5}"#,
            r#"{"prompt": "a", "repetition_penalty": 2}"#,
        ];
        let mut keys: Vec<_> = others.iter().map(|line| key(line)).collect();
        keys.push(plain);
        keys.push(Job::parse(r#"{"prompt": "a"}"#, &Defaults { model: "n".into(), ..defaults() }).expect("a job").key);
        keys.push(Job::parse(r#"{"prompt": "a"}"#, &Defaults { raw: true, ..defaults() }).expect("a job").key);
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_bad_line_still_has_its_id() {
        assert_eq!(id_of(r#"{"id": "x", "nonsense": 1}"#), Some(json!("x")));
        for line in ["{", r#"{"id": null}"#, "[]", "4"] {
            assert_eq!(id_of(line), None, "{line}");
        }
    }
}
