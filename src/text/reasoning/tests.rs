use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::text::TextStream;
use crate::text::tokenizer_tests::with_tokens as tokenizer;

fn format(tokenizer: &Tokenizer, template: &str) -> Option<Arc<ReasoningFormat>> {
    ReasoningFormat::detect(tokenizer, Some(&json!({ "chat_template": template }))).map(Arc::new)
}

/// Reasoning and answer of `output` behind `prompt`.
fn read(tokenizer: &Arc<Tokenizer>, template: &str, prompt: &str, output: &str) -> (String, String) {
    let ids = |text: &str| tokenizer.encode(text, false).unwrap();
    let stream = TextStream::new(Some(tokenizer.clone()), Vec::new(), Vec::new()).unwrap();
    let mut stream = stream.with_reasoning(format(tokenizer, template).as_ref(), &ids(prompt));
    let mut whole = SplitText::default();
    ids(output).into_iter().for_each(|id| whole.append(&stream.push(id).0));
    whole.append(&stream.finish());
    (whole.reasoning, whole.answer)
}

const HARMONY: &[&str] =
    &["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>"];

/// Special tokens, other added ones, template, end of the prompt, output, reasoning, answer.
type Case = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const TABLE: &[Case] = &[
    // Tags as tokens, special or not, and as plain text.
    (&["<think>", "</think>"], &[], "", "A:", "<think>\nwhy\n</think>\n\nso\n", "why", "so\n"),
    (&[], &["<think>", "</think>"], "", "A:", "<think>why</think>so", "why", "so"),
    (&[], &[], "x</think>x", "A:", " <think>why</think>\nso", "why", "so"),
    (&[], &["<think>", "</think>"], "x</think>x", "A:", "\n\n<think>\n\n</think>\n\nso", "", "so"),
    // The template opened it, so the output only closes it.
    (&[], &["<think>", "</think>"], "", "A:<think>\n", "why\n</think>\n\nso", "why", "so"),
    (&[], &[], "x</think>x", "A:<think>\n", "why</think>so", "why", "so"),
    // It closed it too: without reasoning.
    (&[], &["<think>", "</think>"], "", "A:<think>\n\n</think>\n\n", "so <b>it</b> is", "", "so <b>it</b> is"),
    // Unterminated.
    (&[], &["<think>", "</think>"], "", "A:", "<think>why, and why", "why, and why", ""),
    (&[], &[], "x</think>x", "A:", "<think>why</thi", "why</thi", ""),
    (&[], &[], "x</think>x", "A:", "<thi", "", "<thi"),
    (&[], &["<think>", "</think>"], "", "A:", "  ", "", "  "),
    // No reasoning: spaces stay, and marks within an answer are text.
    (&[], &[], "x</think>x", "A:", "  so <think>no</think> ", "", "  so <think>no</think> "),
    (&[], &["<think>", "</think>"], "", "A:", "so <think>no</think>", "", "so <think>no</think>"),
    (&[], &["<think>", "</think>"], "", "A:", "<think>a</think>b</think>c", "a", "b</think>c"),
    // Marks that were spelled, where they are tokens: a text that looks like one.
    (
        &[],
        &["<think>", "</think>"],
        "",
        "A:",
        "<think>it ends with < /think> or</think >, no?</think>x",
        "it ends with < /think> or</think >, no?",
        "x",
    ),
    (&[], &["<think>", "</think>"], "", "A:", "<think>one <think>two</think>x", "one two", "x"),
    (&["[THINK]", "[/THINK]"], &[], "", "[/INST]", "[THINK]why[/THINK]so", "why", "so"),
    (&[], &[], "</seed:think>", "A:", "<seed:think>why</seed:think>so", "why", "so"),
    (&[], &[], "a</thought>b", "A:<thought>\n", "why\n</thought>\n\nso", "why", "so"),
    (&[], &[], "◁/think▷", "A:", "◁think▷why◁/think▷so", "why", "so"),
    (
        &["<|inner_prefix|>", "<|inner_suffix|>"],
        &[],
        "",
        "A:",
        "<|inner_prefix|>a<|inner_suffix|>b<|inner_prefix|>c<|inner_suffix|>d",
        "a\n\nc",
        "bd",
    ),
    // Marks around the answer.
    (
        &[],
        &["<think>", "</think>"],
        "</think> <response>",
        "A:",
        "<think>why</think><response>so</response>",
        "why",
        "so",
    ),
    (
        &[],
        &["<think>", "</think>"],
        "</think> <answer>",
        "A:",
        "<think>\nwhy\n</think>\n<answer>\nso 1 < 2\n</answer>",
        "why",
        "so 1 < 2\n",
    ),
    (
        &[],
        &["<think>", "</think>"],
        "</think>",
        "A:",
        "<think>why</think><answer>so</answer>",
        "why",
        "<answer>so</answer>",
    ),
    (
        &["<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"],
        &[],
        "<|START_RESPONSE|>",
        "A:",
        "<|START_THINKING|>why<|END_THINKING|><|START_RESPONSE|>so<|END_RESPONSE|>",
        "why",
        "so",
    ),
    (&[], &[], "Here is my response:", "A:", "Here is my thought process: why\n\nHere is my response: so", "why", "so"),
    // Gemma 4.
    (&["<|channel>", "<channel|>"], &[], "", "A:", "<|channel>thought\nwhy\n<channel|>so", "why", "so"),
    (&["<|channel>", "<channel|>"], &[], "", "A:", "<|channel>thoughtful<channel|>so", "thoughtful", "so"),
    (&["<|channel>", "<channel|>"], &[], "", "A:<|channel>thought\n<channel|>", "so", "", "so"),
    (&["<|channel>", "<channel|>"], &[], "", "A:<|channel>thought\n", "why<channel|>so", "why", "so"),
    // gpt-oss.
    (
        HARMONY,
        &[],
        "",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>so<|return|>",
        "why",
        "so",
    ),
    (HARMONY, &[], "", "<|start|>assistant", "<|channel|>final<|message|>analysis: so", "", "analysis: so"),
    (HARMONY, &[], "", "<|start|>assistant", "<|channel|>analysis<|message|>why", "why", ""),
    (HARMONY, &[], "", "<|start|>assistant", "<|channel|>ana", "", ""),
    (
        HARMONY,
        &[],
        "",
        "<|start|>assistant<|channel|>analysis<|message|>",
        "why<|end|><|start|>assistant<|channel|>final<|message|>so",
        "why",
        "so",
    ),
    (HARMONY, &[], "", "<|start|>assistant<|channel|>final<|message|>", "so", "", "so"),
    (
        HARMONY,
        &[],
        "",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>d",
        "a\n\nb",
        "c\n\nd",
    ),
    (
        HARMONY,
        &[],
        "",
        "<|start|>assistant",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "",
        "{}",
    ),
    (HARMONY, &[], "", "", "no format at all", "", "no format at all"),
    // A model that does not think.
    (&["<|im_end|>"], &[], "{{ messages }}", "A:", "<think>so</think>", "", "<think>so</think>"),
    (&["<|im_end|>"], &[], "", "A:<think>", "so</think>", "", "so</think>"),
];

#[test]
fn reasoning_is_apart_from_the_answer() {
    for (special, plain, template, prompt, output, reasoning, answer) in TABLE {
        let found = read(&tokenizer(special, plain), template, prompt, output);
        assert_eq!(found, ((*reasoning).to_owned(), (*answer).to_owned()), "{output:?} behind {prompt:?}");
    }
}

/// Marks that are spelled come in pieces of any length.
#[test]
fn pieces_may_be_cut_anywhere() {
    for (special, plain, template, prompt, output, reasoning, answer) in TABLE {
        if !special.is_empty() || !plain.is_empty() {
            continue;
        }
        let tokenizer = tokenizer(&[], &[]);
        let Some(format) = format(&tokenizer, template) else { continue };
        let prompt = tokenizer.encode(prompt, false).unwrap();
        let starts: Vec<usize> = output.char_indices().map(|(at, _)| at).chain([output.len()]).collect();
        for (index, first) in starts.iter().enumerate() {
            for second in &starts[index..] {
                let mut reader = Reasoning::after(&format, &tokenizer, &prompt);
                let mut whole = reader.text(&output[..*first]);
                whole.append(&reader.text(&output[*first..*second]));
                whole.append(&reader.text(&output[*second..]));
                whole.append(&reader.finish());
                assert_eq!(
                    (&*whole.reasoning, &*whole.answer),
                    (*reasoning, *answer),
                    "{output:?} at {first}, {second}"
                );
            }
        }
    }
}

/// Nothing waits longer than it must.
#[test]
fn what_is_certain_comes_at_once() {
    let tokenizer = tokenizer(&[], &[]);
    let format = format(&tokenizer, "</think>").unwrap();
    let mut reader = Reasoning::after(&format, &tokenizer, &[]);
    let mut push = |text: &str| {
        let parts = reader.text(text);
        (parts.reasoning, parts.answer)
    };
    let (none, some) = (String::new, |text: &str| text.to_owned());
    assert_eq!(push("<thi"), (none(), none()));
    assert_eq!(push("nk>why "), (some("why"), none()));
    assert_eq!(push("not</"), (some(" not"), none()));
    assert_eq!(push("b>."), (some("</b>."), none()));
    assert_eq!(push("</think> "), (none(), none()));
    assert_eq!(push(" so "), (none(), some("so ")));
}

/// Stop texts count in the answer only; a mark that is a token stops wherever it comes.
#[test]
fn stop_texts_are_those_of_the_answer() {
    let tokenizer = tokenizer(&[], &["<think>", "</think>"]);
    let run = |stop: &str| {
        let stream = TextStream::new(Some(tokenizer.clone()), Vec::new(), vec![stop.to_owned()]).unwrap();
        let mut stream = stream.with_reasoning(format(&tokenizer, "").as_ref(), &[]);
        let mut whole = SplitText::default();
        for id in tokenizer.encode("<think>one\n\ntwo</think>three\n\nfour", false).unwrap() {
            let (parts, reason) = stream.push(id);
            whole.append(&parts);
            if reason.is_some() {
                return (whole.reasoning, whole.answer);
            }
        }
        whole.append(&stream.finish());
        (whole.reasoning, whole.answer)
    };
    assert_eq!(run("\n\n"), ("one\n\ntwo".to_owned(), "three".to_owned()));
    assert_eq!(run("</think>"), ("one\n\ntwo".to_owned(), String::new()));
    assert_eq!(run("five"), ("one\n\ntwo".to_owned(), "three\n\nfour".to_owned()));
}

/// One without any added token; made once, for many cases.
static PLAIN: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| tokenizer(&[], &[]));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// However it is cut; and an answer without reasoning is not touched.
    #[test]
    fn cutting_does_not_change_the_parts(
        text in "(<think>|</think>|<thi| |\n|a|<answer>|</answer>|b){0,12}",
        cuts in proptest::collection::vec(0usize..60, 0..8),
        opened in any::<bool>(),
    ) {
        let tokenizer = PLAIN.clone();
        let format = format(&tokenizer, "</think><answer>").unwrap();
        let prompt = if opened { tokenizer.encode("<think>", false).unwrap() } else { Vec::new() };
        let read = |pieces: &[&str]| {
            let mut reader = Reasoning::after(&format, &tokenizer, &prompt);
            let mut whole = SplitText::default();
            pieces.iter().for_each(|piece| whole.append(&reader.text(piece)));
            whole.append(&reader.finish());
            whole
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let whole = read(&[&text]);
        prop_assert_eq!(read(&pieces), whole.clone());
        if !opened && !text.trim_start().starts_with("<think>") {
            prop_assert_eq!(whole.answer, text);
        }
    }
}
