//! One answer, shown as it comes.

use tilestream::{Error, ErrorKind, Message, ModelHandle, Request, Result, StopReason};

use crate::args::ShowReasoning;
use crate::fetching::Fetching;
use crate::model::Stopwatch;
use crate::run::{Shown, cut, show};

/// What came, and how it ended.
pub struct Answer {
    pub message: Message,
    pub ids: Vec<u32>,
    pub stop: Option<StopReason>,
    /// Why it did not come to its end: [`ErrorKind::Cancelled`] where the user stopped it.
    pub failed: Option<Error>,
}

/// Answers a prompt, which with its answer has `positions` at most. What goes wrong with the answer is part of it; only what
/// cannot be shown is an error.
///
/// # Errors
/// Those of the standard output.
pub async fn answer(
    model: &ModelHandle,
    request: Request,
    positions: u32,
    profile: bool,
    show_reasoning: ShowReasoning,
) -> Result<Answer> {
    let (prompt_tokens, most) = (request.prompt.len(), request.options.max_tokens);
    let mut watch = Stopwatch::start();
    let (mut text, mut reasoning, mut shown) = (String::new(), String::new(), Shown::new(show_reasoning));
    let (mut ids, mut stop, mut failed) = (Vec::new(), None, None);
    let mut fetching = Fetching::show(model.files());
    let lost_before = model.with_model(|model| model.devices_lost()).await?;
    let mut deltas = model.submit(request)?;
    loop {
        let next = deltas.next().await;
        drop(fetching.take());
        let delta = match next {
            Ok(Some(delta)) => delta,
            Ok(None) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        if let Some(id) = delta.id {
            watch.token();
            ids.push(id);
        }
        reasoning += &delta.reasoning;
        shown.delta(&delta)?;
        text += &delta.text;
        stop = delta.stop;
    }
    if failed.as_ref().is_none_or(|_| !text.is_empty()) {
        show("\n")?;
    }
    let stopped = failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled);
    if let Some(note) = if stopped { Some("stopped".into()) } else { cut(stop, most, positions) } {
        eprintln!("({note})");
    }
    let (report, lost) = model.with_model(|model| (model.profile(), model.devices_lost())).await?;
    if lost > lost_before {
        eprintln!("(the GPU failed; the answer went on with a new device)");
    }
    if profile {
        watch.report(report, prompt_tokens).print();
    }
    let message = Message { reasoning: (!reasoning.is_empty()).then_some(reasoning), ..Message::assistant(text) };
    Ok(Answer { message, ids, stop, failed })
}
