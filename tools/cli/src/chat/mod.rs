//! `tilestream chat`: turn by turn, with the KV cache kept between turns. What goes wrong with one answer never takes the
//! conversation with it.

mod answer;
mod commands;
mod conversation;
mod history;
mod input;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tilestream::internals::text::SplitText;
use tilestream::{
    Content, Error, ErrorKind, GenerateOptions, Message, ModelHandle, ModelText, Request, Result, StopReason,
};
use tilestream_split::told;

use crate::args::{ChatArgs, ShowReasoning, WhenFull};
use crate::model;
use crate::signals::{self, INTERRUPTED};
use answer::{Answer, answer};
use commands::{Command, HELP, Typed};
use conversation::{Begun, Conversation, Exchange};
use input::Input;

/// Runs the command.
pub fn chat(args: &ChatArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    model::check_sampling(&args.generation)?;
    let model = pollster::block_on(async {
        let files = model::open_for_chat(&args.model, &args.generation, stop).await?;
        files.text().chat_prompt(&[Message::user("")])?;
        model::load(files, &model::load_options(&args.model, None), stop).await
    })?;
    let options = model::generate_options(&args.generation, &model::own_sampling(model.files()));
    let options = model::with_format(options, &args.generation, model.files())?;
    model::tell_sampling(&options.sampler);
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let mut input = Input::open(!args.no_history)?;
    if input.is_terminal() {
        eprintln!("/help lists the commands. Ctrl-C stops an answer, Ctrl-D ends the chat.");
    }
    let answering = Arc::new(AtomicBool::new(false));
    // The line editor installs a handler of its own when it is made, so this one comes after it.
    watch_interrupts(input.is_terminal(), &answering, stop);
    let conversation = Conversation::new(args.generation.system.clone().map(Content::from));
    let (positions, cancel) = (model.positions(), model.cancel_token());
    let mut chat = Chat {
        model: model.into_handle()?,
        positions,
        options,
        conversation,
        retries: 0,
        when_full: args.when_full,
        profile: args.generation.profile,
        reasoning: args.generation.reasoning,
    };
    while let Some(text) = input.next()? {
        stop.store(false, Ordering::Relaxed);
        cancel.reset();
        answering.store(true, Ordering::Relaxed);
        let goes_on = chat.take(Typed::parse(&text))?;
        answering.store(false, Ordering::Relaxed);
        if !goes_on {
            break;
        }
        if stop.load(Ordering::Relaxed) && !input.is_terminal() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped"));
        }
    }
    model::write_trace(trace)
}

/// Ctrl-C stops the answer. At the prompt the line editor reads it as a key; where nobody sits, it ends the program.
fn watch_interrupts(terminal: bool, answering: &Arc<AtomicBool>, stop: &Arc<AtomicBool>) {
    let (answering, stop) = (Arc::clone(answering), Arc::clone(stop));
    let _ = ctrlc::set_handler(move || {
        if !terminal && !answering.load(Ordering::Relaxed) {
            signals::end(INTERRUPTED);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

struct Chat {
    model: ModelHandle,
    /// Positions that a prompt and its answer may take.
    positions: u32,
    options: GenerateOptions,
    conversation: Conversation,
    /// Each takes another seed.
    retries: u64,
    when_full: WhenFull,
    profile: bool,
    reasoning: ShowReasoning,
}

impl Chat {
    /// Does what was typed; false ends the chat.
    fn take(&mut self, typed: Typed) -> Result<bool> {
        match typed {
            Typed::Message(text) => drop(self.ask(&text.into(), None)?),
            Typed::Refused(why) => eprintln!("{why}"),
            Typed::Command(Command::Exit) => return Ok(false),
            Typed::Command(Command::Retry) => self.retry()?,
            Typed::Command(Command::Continue) => self.go_on()?,
            Typed::Command(command) => {
                if let Err(error) = self.obey(command) {
                    eprintln!("{}", told(&error));
                }
            }
        }
        Ok(true)
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::New => {
                self.conversation = Conversation::new(self.conversation.system.take());
                eprintln!("a new conversation");
            }
            Command::Undo => match self.conversation.unanswered.take().or_else(|| Some(self.conversation.pop()?.asked))
            {
                Some(asked) => eprintln!("taken back: {}", beginning(&asked.text())),
                None => eprintln!("there is nothing to take back"),
            },
            Command::System(None) => match &self.conversation.system {
                Some(told) => eprintln!("{}", told.text()),
                None => eprintln!("there is no system prompt"),
            },
            Command::System(Some(text)) => self.set_system(text)?,
            Command::Save(path) => {
                self.conversation.save(&path)?;
                eprintln!("saved to {}", path.display());
            }
            Command::Load(path) => self.load(Conversation::load(&path)?)?,
            Command::Tokens => self.tell_tokens()?,
            Command::Help => eprintln!("{HELP}"),
            // These end the chat or answer, and are done elsewhere.
            Command::Exit | Command::Retry | Command::Continue => {}
        }
        Ok(())
    }

    /// Sets the system prompt, if the template takes it.
    fn set_system(&mut self, text: String) -> Result<()> {
        let old = std::mem::replace(
            &mut self.conversation.system,
            Some(text).filter(|text| !text.is_empty()).map(Content::from),
        );
        if let Err(error) = self.fit(&"".into(), &[]) {
            self.conversation.system = old;
            return Err(error);
        }
        eprintln!("the system prompt is {}", if self.conversation.system.is_some() { "set" } else { "gone" });
        Ok(())
    }

    fn load(&mut self, loaded: Conversation) -> Result<()> {
        let old = std::mem::replace(&mut self.conversation, loaded);
        if let Err(error) = self.fit(&"".into(), &[]) {
            self.conversation = old;
            return Err(error);
        }
        match (&self.conversation.unanswered, self.conversation.last()) {
            (Some(asked), _) => eprintln!("loaded; /retry answers: {}", beginning(&asked.text())),
            (None, Some(last)) => eprintln!("loaded; the last answer was: {}", beginning(&last.answer.content.text())),
            (None, None) => eprintln!("loaded; nothing was said yet"),
        }
        Ok(())
    }

    fn tell_tokens(&self) -> Result<()> {
        let (tokens, most) = (self.prompt(&"".into())?.len(), self.positions);
        eprintln!("{tokens} of {most} tokens are taken, {} are left", (most as usize).saturating_sub(tokens));
        if self.conversation.left_out() > 0 {
            eprintln!("the {} oldest messages and their answers are left out", self.conversation.left_out());
        }
        Ok(())
    }

    /// Another answer to the last message.
    fn retry(&mut self) -> Result<()> {
        if let Some(asked) = self.conversation.unanswered.clone() {
            return self.ask(&asked, None).map(|_| ());
        }
        match self.conversation.last() {
            None => eprintln!("there is no message to answer again"),
            Some(last) if last.whole && self.options.sampler.temperature == 0.0 => {
                eprintln!("with temperature 0 the answer is the same every time; start with --temperature 0.7, say");
            }
            Some(last) => {
                let before = last.clone();
                self.conversation.pop();
                self.retries += 1;
                if !self.ask(&before.asked, None)? {
                    self.conversation.push(before);
                }
            }
        }
        Ok(())
    }

    /// Goes on with the last answer, if that did not come to its end.
    fn go_on(&mut self) -> Result<()> {
        let last = self.conversation.last().filter(|_| self.conversation.unanswered.is_none()).cloned();
        let Some((last, begun)) = last.and_then(|last| Some((last.clone(), last.begun?))) else {
            eprintln!("there is no answer that was stopped or cut");
            return Ok(());
        };
        self.conversation.pop();
        if !self.ask(&last.asked, Some(begun))? {
            self.conversation.push(last);
        }
        Ok(())
    }

    /// Answers a message, if that can be, or goes on with its answer; otherwise it is kept for `/retry`, and the conversation is
    /// as it was.
    fn ask(&mut self, asked: &Content, begun: Option<Begun>) -> Result<bool> {
        let seed = self.options.sampler.seed.wrapping_add(self.retries);
        let Begun { mut ids, seed } = begun.unwrap_or(Begun { ids: Vec::new(), seed });
        let mut options = self.options.clone();
        options.sampler.seed = seed;
        let (said, Answer { message, ids: new, stop, failed }) = loop {
            let prompt = match self.fit(asked, &ids) {
                Ok(prompt) => prompt,
                Err(error) => {
                    eprintln!("not sent: {}", told(&error));
                    return Ok(false);
                }
            };
            let said = certain(self.model.files().text(), &options, prompt.split_at(prompt.len() - ids.len()))?;
            let mut request = Request::new(prompt, options.clone());
            request.answered = ids.len();
            let answer = answer(&self.model, request, self.positions, self.profile, self.reasoning);
            let answer = pollster::block_on(answer)?;
            let too_large = answer.failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Budget);
            let again = answer.ids.is_empty() && too_large && self.when_full == WhenFull::DropOldest;
            if !(again && self.conversation.leave_out_oldest()) {
                break (said, answer);
            }
        };
        ids.extend(new);
        let message = joined(said, &message);
        let answered = failed.is_none() || !message.content.is_empty();
        if answered {
            let cut = matches!(stop, None | Some(StopReason::MaxTokens | StopReason::ContextFull));
            let (whole, begun) = (failed.is_none(), cut.then_some(Begun { ids, seed }));
            self.conversation.push(Exchange { asked: asked.clone(), answer: message, whole, begun });
        } else {
            self.conversation.unanswered = Some(asked.clone());
        }
        if let Some(error) = failed.filter(|error| error.kind() != ErrorKind::Cancelled) {
            eprintln!("the answer failed: {}", told(&error));
            eprintln!("(the conversation is kept; /retry asks again)");
        }
        Ok(answered)
    }

    /// The ids of a chat with the next message.
    fn prompt(&self, asked: &Content) -> Result<Vec<u32>> {
        self.model.files().text().chat_prompt(&self.conversation.messages(asked))
    }

    /// The prompt of the next message with its answer so far, and as much of the conversation as there is room for, or as it is.
    fn fit(&mut self, asked: &Content, answered: &[u32]) -> Result<Vec<u32>> {
        let before = self.conversation.clone();
        let most = self.positions as usize;
        let answer = match self.when_full {
            WhenFull::Refuse => 1,
            // Not for a few words only.
            WhenFull::DropOldest => (self.options.max_tokens as usize).min(most / 4).max(1),
        };
        let prompt = loop {
            let mut prompt = self.prompt(asked)?;
            prompt.extend(answered);
            let full = prompt.len() + answer > most && self.when_full == WhenFull::DropOldest;
            if !(full && self.conversation.leave_out_oldest()) {
                break prompt;
            }
        };
        if prompt.len() < most {
            let more = self.conversation.left_out() - before.left_out();
            if more > 0 {
                eprintln!("(the context is full: the {more} oldest messages and their answers are left out)");
            }
            return Ok(prompt);
        }
        self.conversation = before;
        let message = format!("{} tokens too many for the {most} of the context", prompt.len() + 1 - most);
        let error = Error::new(ErrorKind::Argument, message);
        Err(error.remedy(
            "shorten it, take something back with /undo, or start anew with /new (or with --when-full drop-oldest)",
        ))
    }
}

/// What the tokens of an answer to a prompt say for certain. An answer that a limit cut shows more: what may have become a part of
/// a character, or of a text that ends it.
fn certain(text: &ModelText, options: &GenerateOptions, (prompt, ids): (&[u32], &[u32])) -> Result<SplitText> {
    let (mut stream, mut said) = (options.text_stream(text, prompt)?, SplitText::default());
    ids.iter().for_each(|id| said.append(&stream.push(*id).0));
    Ok(said)
}

/// An answer of what it said before, and what it went on with.
fn joined(said: SplitText, more: &Message) -> Message {
    let reasoning = said.reasoning + more.reasoning.as_deref().unwrap_or_default();
    let text = said.answer + &more.content.text();
    Message { reasoning: (!reasoning.is_empty()).then_some(reasoning), ..Message::assistant(text) }
}

/// The first words of a text.
fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    let short: String = line.chars().take(MOST).collect();
    if short.len() < text.trim().len() { format!("{short}…") } else { short }
}
