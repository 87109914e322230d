//! A model that answers on its own: natively on a thread, in a browser on the event loop. Whoever has a handle asks.
//!
//! ```no_run
//! # fn main() -> tilestream::Result<()> {
//! use tilestream::{AutoModel, GenerateOptions, Message, Request};
//!
//! pollster::block_on(async {
//!     let model = AutoModel::from_pretrained("models/smollm2").budget(64 << 20).load().await?.into_handle()?;
//!     let ask = |text: &str| {
//!         let prompt = model.files().text().chat_prompt(&[Message::user(text)])?;
//!         model.submit(Request::new(prompt, GenerateOptions::default()))
//!     };
//!     // Both ride the same sweeps.
//!     let (mut first, mut second) = (ask("What is a tile?")?, ask("What is a sweep?")?);
//!     while let Some(delta) = first.next().await? {
//!         print!("{}", delta.text);
//!     }
//!     while let Some(delta) = second.next().await? {
//!         print!("{}", delta.text);
//!     }
//!     Ok(())
//! })
//! # }
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};

use crate::auto_model::AutoModel;
use crate::model::CancelToken;
use crate::model_files::ModelFiles;
use crate::platform::Spawner;
use crate::scheduler::{Event, Request, RequestId, TextDelta};
use crate::{Error, ErrorKind, Result};

/// Number of an answer; that of its request is known when it is let in.
type Ticket = u64;
/// Something to do with the model between two sweeps.
type Visit = Box<dyn FnOnce(&mut AutoModel) + Send>;

enum Command {
    Submit(Ticket, Box<Request>, mpsc::UnboundedSender<Result<Event>>),
    Visit(Visit),
    /// Looks at what was cancelled.
    Wake,
}

/// What the handles and the loop see at any time.
#[derive(Debug, Default)]
struct Tickets {
    next: Ticket,
    open: HashSet<Ticket>,
    cancelled: HashSet<Ticket>,
}

struct Shared {
    tickets: Mutex<Tickets>,
    cancel: CancelToken,
    files: ModelFiles,
}

impl Shared {
    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a model that answers on its own. Clones ask the same; the model goes with the last of them and the last answer.
#[derive(Clone)]
pub struct ModelHandle {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
    /// The engine's thread, which is waited for when nobody can ask any more.
    _engine: Arc<Spawner>,
}

/// An answer as it comes. Dropped before its end, it ends the request.
pub struct Answer {
    ticket: Ticket,
    events: mpsc::UnboundedReceiver<Result<Event>>,
    /// Its last event came, or an error.
    ended: bool,
    handle: ModelHandle,
}

impl AutoModel {
    /// Lets the model answer on its own: natively on a thread of its own.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the host starts no thread.
    pub fn into_handle(self) -> Result<ModelHandle> {
        let (commands, receiver) = mpsc::unbounded();
        let shared =
            Arc::new(Shared { tickets: Mutex::default(), cancel: self.cancel_token(), files: self.files().clone() });
        let spawner = Spawner::new("tilestream-engine", 1).map_err(|error| Error::io(error, "the engine's thread"))?;
        spawner.spawn(answer_all(self, receiver, Arc::clone(&shared)));
        Ok(ModelHandle { commands, shared, _engine: Arc::new(spawner) })
    }
}

impl ModelHandle {
    /// The manifest, plan, tokenizer and chat template.
    pub fn files(&self) -> &ModelFiles {
        &self.shared.files
    }

    /// Takes a request, which shares the sweeps of those under way.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] where the model is gone. What is wrong with the request is what its answer says first.
    pub fn submit(&self, request: Request) -> Result<Answer> {
        let (sender, events) = mpsc::unbounded();
        let ticket = {
            let mut tickets = self.shared.tickets();
            let ticket = tickets.next;
            tickets.next += 1;
            tickets.open.insert(ticket);
            ticket
        };
        self.send(Command::Submit(ticket, Box::new(request), sender))?;
        Ok(Answer { ticket, events, ended: false, handle: self.clone() })
    }

    /// Does something with the model between two sweeps, such as asking for its [`AutoModel::profile`].
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] where the model is gone.
    pub async fn with_model<T: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut AutoModel) -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Visit(Box::new(move |model| {
            // Whoever asked may have gone.
            let _ = sender.send(visit(model));
        })))?;
        receiver.await.map_err(|_| gone())
    }

    fn cancel(&self, ticket: Ticket) {
        let mut tickets = self.shared.tickets();
        if !tickets.open.contains(&ticket) {
            return;
        }
        tickets.cancelled.insert(ticket);
        if tickets.open.is_subset(&tickets.cancelled) {
            self.stop_sweep(&tickets);
        } else {
            let _ = self.send(Command::Wake);
        }
    }

    /// A sweep that nobody waits for any more ends between two tiles. The lock sees to it that the token is reset with what
    /// was cancelled, and not before.
    fn stop_sweep(&self, _: &MutexGuard<'_, Tickets>) {
        self.shared.cancel.cancel();
        let _ = self.send(Command::Wake);
    }

    fn send(&self, command: Command) -> Result<()> {
        self.commands.unbounded_send(command).map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the model is gone").remedy("load it again")
}

impl Answer {
    /// What comes next. None: the answer is at its end, as its last delta said.
    ///
    /// # Errors
    /// Why the request failed; [`ErrorKind::Cancelled`] after [`Answer::cancel`], or where the model is gone.
    pub async fn next(&mut self) -> Result<Option<TextDelta>> {
        match self.next_event().await? {
            Some(Event::Delta(delta)) => Ok(Some(delta)),
            None => Ok(None),
            Some(_) => Err(Error::new(ErrorKind::Argument, "the request was for a vector, which is no text")),
        }
    }

    /// What becomes of the request next.
    pub(crate) async fn next_event(&mut self) -> Result<Option<Event>> {
        let next = self.events.next().await.transpose();
        match &next {
            Ok(None) if !self.ended => return Err(gone()),
            Ok(None) => {}
            Ok(Some(event)) => self.ended = event.is_last(),
            Err(_) => self.ended = true,
        }
        next
    }

    /// Ends the request: at once where nobody else waits for the sweep under way, else before the next one.
    pub fn cancel(&self) {
        self.handle.cancel(self.ticket);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// An answer on its way.
struct Open {
    ticket: Ticket,
    events: mpsc::UnboundedSender<Result<Event>>,
}

/// Answers until nobody can ask any more.
async fn answer_all(mut model: AutoModel, mut commands: mpsc::UnboundedReceiver<Command>, shared: Arc<Shared>) {
    let mut open: HashMap<RequestId, Open> = HashMap::new();
    loop {
        while let Ok(command) = commands.try_recv() {
            take(&mut model, &mut open, &shared, command);
        }
        end_cancelled(&mut model, &mut open, &shared);
        if model.is_idle() {
            match commands.next().await {
                Some(command) => take(&mut model, &mut open, &shared, command),
                None => return,
            }
            continue;
        }
        match model.next_event().await {
            Ok(Some(event)) => tell(&mut open, &shared, event),
            Ok(None) => {}
            // Some or all of the requests are to end.
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                // None of them: whoever has the model's token asked to stop.
                if shared.tickets().cancelled.is_empty() {
                    fail_all(&mut model, &mut open, &shared, &error);
                    shared.cancel.reset();
                }
            }
            Err(error) => fail_all(&mut model, &mut open, &shared, &error),
        }
    }
}

fn take(model: &mut AutoModel, open: &mut HashMap<RequestId, Open>, shared: &Shared, command: Command) {
    match command {
        Command::Submit(ticket, request, events) => match model.submit(*request) {
            Ok(id) => {
                open.insert(id, Open { ticket, events });
            }
            Err(error) => {
                close(shared, ticket);
                let _ = events.unbounded_send(Err(error));
            }
        },
        Command::Visit(visit) => visit(model),
        Command::Wake => {}
    }
}

/// Ends what was cancelled.
fn end_cancelled(model: &mut AutoModel, open: &mut HashMap<RequestId, Open>, shared: &Shared) {
    let mut tickets = shared.tickets();
    if tickets.cancelled.is_empty() {
        return;
    }
    // The request of an answer that was dropped at once may still be on its way.
    let here: HashSet<Ticket> = open.values().map(|answer| answer.ticket).collect();
    let (cancelled, coming): (HashSet<Ticket>, _) = tickets.cancelled.drain().partition(|ticket| here.contains(ticket));
    tickets.cancelled = coming;
    // The sweep that it was to stop is over.
    shared.cancel.reset();
    drop(tickets);
    let ids: Vec<_> = open.iter().filter(|(_, open)| cancelled.contains(&open.ticket)).map(|(id, _)| *id).collect();
    for id in ids {
        model.cancel(id);
        let stopped = Error::new(ErrorKind::Cancelled, "stopped on request");
        end(open, shared, id, Some(stopped));
    }
}

fn tell(open: &mut HashMap<RequestId, Open>, shared: &Shared, event: Event) {
    let (id, is_last) = (event.request(), event.is_last());
    if let Event::Failed { error, .. } = event {
        return end(open, shared, id, Some(error));
    }
    if let Some(answer) = open.get(&id) {
        // Whoever asked may have gone; the answer is cancelled then.
        let _ = answer.events.unbounded_send(Ok(event));
    }
    if is_last {
        end(open, shared, id, None);
    }
}

fn fail_all(model: &mut AutoModel, open: &mut HashMap<RequestId, Open>, shared: &Shared, error: &Error) {
    let ids: Vec<_> = open.keys().copied().collect();
    for id in ids {
        model.cancel(id);
        end(open, shared, id, Some(error.clone()));
    }
}

fn end(open: &mut HashMap<RequestId, Open>, shared: &Shared, id: RequestId, error: Option<Error>) {
    let Some(answer) = open.remove(&id) else { return };
    close(shared, answer.ticket);
    if let Some(error) = error {
        let _ = answer.events.unbounded_send(Err(error));
    }
}

fn close(shared: &Shared, ticket: Ticket) {
    let mut tickets = shared.tickets();
    tickets.open.remove(&ticket);
    // It came to its end before the sweep that it was to stop.
    if tickets.cancelled.remove(&ticket) && tickets.cancelled.is_empty() {
        shared.cancel.reset();
    }
}
