//! One answer, shown as it comes.

use tilestream::{AutoModel, Error, ErrorKind, GenerateOptions, Message, Result, StopReason};

use crate::model::Stopwatch;
use crate::run::show;

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
) -> Result<Answer> {
    let (prompt_tokens, most) = (prompt.len(), options.max_tokens);
    let positions = model.positions();
    let mut watch = Stopwatch::start();
    let mut message = Message::assistant("");
    let mut reasoning = String::new();
    let (mut failed, mut note) = (None, None);
    let mut generation = match model.generate(prompt, options) {
        Ok(generation) => generation,
        Err(error) => return Ok(Answer { message, failed: Some(error) }),
    };
    loop {
        let piece = match generation.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        if piece.id.is_some() {
            watch.token();
        }
        eprint!("{}", piece.reasoning);
        reasoning += &piece.reasoning;
        if message.content.is_empty() && !piece.text.is_empty() && !reasoning.is_empty() {
            eprintln!();
        }
        show(&piece.text)?;
        message.content += &piece.text;
        note = match piece.stop {
            Some(StopReason::MaxTokens) => Some(format!("cut at --max-tokens {most}")),
            Some(StopReason::ContextFull) => Some(format!("cut: the context of {positions} tokens is full")),
            _ => None,
        };
    }
    let devices_lost = generation.devices_lost();
    drop(generation);
    if failed.as_ref().is_none_or(|_| !message.content.is_empty()) {
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
    message.reasoning = (!reasoning.is_empty()).then_some(reasoning);
    Ok(Answer { message, failed })
}
