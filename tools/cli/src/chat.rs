//! `tilestream chat`: turn by turn, with the KV cache kept between turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::error::ReadlineError;
use tilestream::{AutoModel, Error, ErrorKind, Message, Result};

use crate::args::ChatArgs;
use crate::model::{self, Stopwatch};
use crate::run::show;

/// Runs the command.
pub fn chat(args: &ChatArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    let options = model::generate_options(&args.generation);
    options.sampler.validate()?;
    let mut model = pollster::block_on(async {
        let files = model::open(&args.model, stop).await?;
        files.text().chat_prompt(&[Message::user("")])?;
        model::load(files, &model::load_options(&args.model, None), stop).await
    })?;
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let mut messages: Vec<_> = args.generation.system.iter().map(|text| Message::system(text.as_str())).collect();
    eprintln!("Ctrl-C stops an answer, Ctrl-D ends the chat.");
    let mut editor = rustyline::DefaultEditor::new().map_err(terminal)?;
    // Ctrl-C stops the answer, never the program; at the prompt the line editor reads it as a key. The editor installs a
    // handler of its own when it is made, so this one comes after it.
    let flag = Arc::clone(stop);
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    loop {
        let line = match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return model::write_trace(trace),
            Err(error) => return Err(terminal(error)),
        };
        // History is a comfort; a line that does not fit it is no fault.
        let _ = editor.add_history_entry(&line);
        messages.push(Message::user(line));
        stop.store(false, Ordering::Relaxed);
        model.cancel_token().reset();
        let answer = pollster::block_on(answer(&mut model, &messages, args))?;
        messages.push(Message::assistant(answer));
    }
}

async fn answer(model: &mut AutoModel, messages: &[Message], args: &ChatArgs) -> Result<String> {
    let prompt = model.chat_prompt(messages)?;
    let (prompt_tokens, mut text) = (prompt.len(), String::new());
    let mut watch = Stopwatch::start();
    let mut generation = model.generate(prompt, model::generate_options(&args.generation))?;
    loop {
        match generation.next().await {
            Ok(Some(piece)) => {
                if piece.id.is_some() {
                    watch.token();
                }
                show(&piece.text)?;
                text += &piece.text;
                if piece.stop == Some(tilestream::StopReason::ContextFull) {
                    eprintln!("\n(the context is full; start a new chat)");
                }
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                eprint!(" (stopped)");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    drop(generation);
    show("\n")?;
    if args.generation.profile {
        watch.report(model, prompt_tokens).print();
    }
    Ok(text)
}

fn terminal(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Io, "the terminal cannot be read").source(error)
}
