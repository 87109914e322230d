//! One answer, shown as it comes.

use tilestream::{AutoModel, Error, ErrorKind, GenerateOptions, Message, Result};

use crate::args::ShowReasoning;
use crate::fetching::Fetching;
use crate::model::Stopwatch;
use crate::run::{Shown, cut, show};

/// What came, and how it ended.
pub struct Answer {
    pub message: Message,
    /// Why it did not come to its end: [`ErrorKind::Cancelled`] where the user stopped it.
    pub failed: Option<Error>,
}

/// Answers a prompt. What goes wrong with the answer is part of it; only what cannot be shown is an error.
///
/// # Errors
/// Those of the standard output.
pub async fn answer(
    model: &mut AutoModel,
    prompt: Vec<u32>,
    options: GenerateOptions,
    profile: bool,
    show_reasoning: ShowReasoning,
) -> Result<Answer> {
    let (prompt_tokens, most) = (prompt.len(), options.max_tokens);
    let positions = model.positions();
    let mut watch = Stopwatch::start();
    let (mut text, mut reasoning, mut shown) = (String::new(), String::new(), Shown::new(show_reasoning));
    let (mut failed, mut note) = (None, None);
    let mut fetching = Fetching::show(model.files());
    let mut generation = match model.generate(prompt, options) {
        Ok(generation) => generation,
        Err(error) => return Ok(Answer { message: Message::assistant(""), failed: Some(error) }),
    };
    loop {
        let next = generation.next().await;
        drop(fetching.take());
        let delta = match next {
            Ok(Some(delta)) => delta,
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        if delta.id.is_some() {
            watch.token();
        }
        reasoning += &delta.reasoning;
        shown.delta(&delta)?;
        text += &delta.text;
        note = cut(delta.stop, most, positions);
    }
    let devices_lost = generation.devices_lost();
    drop(generation);
    if failed.as_ref().is_none_or(|_| !text.is_empty()) {
        show("\n")?;
    }
    if failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled) {
        note = Some("stopped".into());
    }
    if let Some(note) = note {
        eprintln!("({note})");
    }
    if devices_lost > 0 {
        eprintln!("(the GPU failed; the answer went on with a new device)");
    }
    if profile {
        watch.report(model, prompt_tokens).print();
    }
    let message = Message { reasoning: (!reasoning.is_empty()).then_some(reasoning), ..Message::assistant(text) };
    Ok(Answer { message, failed })
}
