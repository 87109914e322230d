//! `tilestream chat`: turn by turn, with the KV cache kept between turns. What goes wrong with one answer never takes the
//! conversation with it.

mod answer;
mod commands;
mod conversation;
mod history;
mod input;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tilestream::{AutoModel, Content, Error, ErrorKind, GenerateOptions, Message, Result};

use crate::args::{ChatArgs, ShowReasoning, WhenFull};
use crate::model;
use crate::signals::INTERRUPTED;
use answer::{Answer, answer};
use commands::{Command, HELP, Typed};
use conversation::{Conversation, Exchange};
use input::Input;

/// Runs the command.
pub fn chat(args: &ChatArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    model::check_sampling(&args.generation)?;
    let model = pollster::block_on(async {
        let files = model::open(&args.model, stop).await?.with_date(args.generation.date);
        files.text().chat_prompt(&[Message::user("")])?;
        model::load(files, &model::load_options(&args.model, None), stop).await
    })?;
    let options = model::generate_options(&args.generation, &model::own_sampling(model.files()));
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
    let mut chat = Chat {
        model,
        options,
        conversation,
        retries: 0,
        when_full: args.when_full,
        profile: args.generation.profile,
        reasoning: args.generation.reasoning,
    };
    while let Some(text) = input.next()? {
        stop.store(false, Ordering::Relaxed);
        chat.model.cancel_token().reset();
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
            std::process::exit(INTERRUPTED);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

struct Chat {
    model: AutoModel,
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
            Typed::Message(text) => drop(self.ask(&text.into())?),
            Typed::Refused(why) => eprintln!("{why}"),
            Typed::Command(Command::Exit) => return Ok(false),
            Typed::Command(Command::Retry) => self.retry()?,
            Typed::Command(command) => {
                if let Err(error) = self.obey(command) {
                    eprintln!("{error}");
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
            Command::Exit | Command::Retry => {}
        }
        Ok(())
    }

    /// Sets the system prompt, if the template takes it.
    fn set_system(&mut self, text: String) -> Result<()> {
        let old = std::mem::replace(
            &mut self.conversation.system,
            Some(text).filter(|text| !text.is_empty()).map(Content::from),
        );
        if let Err(error) = self.fit(&"".into()) {
            self.conversation.system = old;
            return Err(error);
        }
        eprintln!("the system prompt is {}", if self.conversation.system.is_some() { "set" } else { "gone" });
        Ok(())
    }

    fn load(&mut self, loaded: Conversation) -> Result<()> {
        let old = std::mem::replace(&mut self.conversation, loaded);
        if let Err(error) = self.fit(&"".into()) {
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
        let (tokens, most) =
            (self.model.chat_prompt(&self.conversation.messages(&"".into()))?.len(), self.model.positions());
        eprintln!("{tokens} of {most} tokens are taken, {} are left", (most as usize).saturating_sub(tokens));
        if self.conversation.left_out() > 0 {
            eprintln!("the {} oldest messages and their answers are left out", self.conversation.left_out());
        }
        Ok(())
    }

    /// Another answer to the last message.
    fn retry(&mut self) -> Result<()> {
        if let Some(asked) = self.conversation.unanswered.clone() {
            return self.ask(&asked).map(|_| ());
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
                if !self.ask(&before.asked)? {
                    self.conversation.push(before);
                }
            }
        }
        Ok(())
    }

    /// Answers a message, if that can be; otherwise it is kept for `/retry`, and the conversation is as it was.
    fn ask(&mut self, asked: &Content) -> Result<bool> {
        let mut options = self.options.clone();
        options.sampler.seed = options.sampler.seed.wrapping_add(self.retries);
        let Answer { message, failed } = loop {
            let prompt = match self.fit(asked) {
                Ok(prompt) => prompt,
                Err(error) => {
                    eprintln!("not sent: {error}");
                    return Ok(false);
                }
            };
            let answer =
                pollster::block_on(answer(&mut self.model, prompt, options.clone(), self.profile, self.reasoning))?;
            let nothing = answer.message.content.is_empty() && answer.message.reasoning.is_none();
            let too_large = answer.failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Budget);
            let again = nothing && too_large && self.when_full == WhenFull::DropOldest;
            if !(again && self.conversation.leave_out_oldest()) {
                break answer;
            }
        };
        let stopped = failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled);
        let (whole, answered) = (failed.is_none(), failed.is_none() || !message.content.is_empty());
        if answered {
            self.conversation.push(Exchange { asked: asked.clone(), answer: message, whole });
        } else {
            self.conversation.unanswered = Some(asked.clone());
        }
        if let Some(error) = failed.filter(|_| !stopped) {
            eprintln!("the answer failed: {error}");
            eprintln!("(the conversation is kept; /retry asks again)");
        }
        Ok(answered)
    }

    /// The prompt of the next message, with as much of the conversation as there is room for, or as it is.
    fn fit(&mut self, asked: &Content) -> Result<Vec<u32>> {
        let before = self.conversation.clone();
        let most = self.model.positions() as usize;
        let answer = match self.when_full {
            WhenFull::Refuse => 1,
            // Not for a few words only.
            WhenFull::DropOldest => (self.options.max_tokens as usize).min(most / 4).max(1),
        };
        let prompt = loop {
            let prompt = self.model.chat_prompt(&self.conversation.messages(asked))?;
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

/// The first words of a text.
fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    let short: String = line.chars().take(MOST).collect();
    if short.len() < text.trim().len() { format!("{short}…") } else { short }
}
