//! Requests that share sweeps: who is let in, who waits, and what comes of each.
//!
//! Requests join and leave between two sweeps. Pages of the KV cache are taken as a text grows. Where they run out, texts that
//! nobody continues are forgotten; then the cache grows, if that costs less than sweeps that are not shared; then the youngest
//! request gives its pages back and waits. It is computed anew later, to the same text. An error belongs to its request, unless
//! the device or the files of the model fail.

use std::collections::VecDeque;

use crate::auto_model::Core;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::model::batch::{self, Job, Sequence};
use crate::model::inputs::Want;
use crate::model::kv::{SequenceState, Snapshot};
use crate::model::readback::Output;
use crate::text::{Grammar, GrammarState, Sampler, StopReason, TextStream, TokenLogprobs};
use crate::{Error, ErrorKind, Result};

mod beginnings;
mod growth;
mod prefixes;
mod reading;
mod request;

use growth::{grow, reserve_in_company};
use prefixes::Chain;
pub(crate) use prefixes::Prefixes;
pub use reading::Pooling;
use reading::Reading;
pub use request::{Event, GenerateOptions, Question, Request, RequestId, TextDelta};

/// New devices in a row that bring no token before the error is passed on.
const MOST_REOPENED: u32 = 2;
/// Texts that are kept for prompts that go on with them, at least; as many as share sweeps, if those are more.
const KEPT_TEXTS: usize = 4;

/// A request on its way: what it has so far goes on where it waits again.
#[derive(Debug)]
struct Running {
    id: RequestId,
    sequence: Sequence,
    options: GenerateOptions,
    sampler: Sampler,
    stream: TextStream,
    /// Where its answer stands in the grammar that it has to meet.
    grammar: Option<GrammarState>,
    new_tokens: u32,
    /// What is told of its prompt, as long as that is read.
    reading: Option<Reading>,
    /// Whether a snapshot of its prompt was tried.
    was_saved: bool,
    /// Its blocks, for who keeps them outside.
    chain: Chain,
    /// Tokens of its prompt whose states were there already, until that is told.
    known: u32,
}

impl Running {
    fn new(core: &Core, id: RequestId, request: Request) -> Result<Self> {
        let Request { prompt, answered, options, question } = request;
        let answers = question == Question::Answer;
        let reading = match question {
            Question::Answer => options.prompt_logprobs.map(Reading::logprobs),
            Question::Vector(pooling) => Some(Reading::embedding(pooling)),
            Question::Next(ids) => {
                core.check_ids(&ids, 0)?;
                Some(Reading::next(ids))
            }
        };
        if prompt.len() <= answered || options.max_tokens == 0 && reading.is_none() {
            return Err(Error::new(ErrorKind::Argument, "a prompt has no tokens, or none may be generated"));
        }
        core.check_ids(&prompt, usize::from(answers && options.max_tokens > 0))?;
        let (asked, written) = prompt.split_at(prompt.len() - answered);
        let mut stream = options.text_stream(core.files.text(), asked)?;
        // What it gave for these is known; what it still holds back of them comes with the first delta.
        let mut grammar = options.grammar.as_ref().map(Grammar::begin);
        for id in written {
            if let Some(grammar) = grammar.as_mut().filter(|_| stream.writes_answer()) {
                grammar.take(*id)?;
            }
            drop(stream.push(*id));
        }
        let mut sampler = Sampler::new(options.sampler.clone())?;
        sampler.observe(asked);
        sampler.go_on(written);
        let sequence = Sequence::new(prompt);
        let chain = Chain::default();
        Ok(Self {
            id,
            sequence,
            options,
            sampler,
            stream,
            new_tokens: 0,
            reading,
            was_saved: false,
            chain,
            known: 0,
            grammar,
        })
    }

    /// What the next sweep does for it.
    fn job(&mut self) -> Job<'_> {
        if let Some(reading) = &self.reading {
            let (want, from) = reading.wants(self.sequence.ids.len());
            return Job { sequence: &mut self.sequence, want, from };
        }
        let all = self.sampler.needs_logits() || self.options.logprobs.is_some() || self.grammar.is_some();
        let want = if all { Want::Logits } else { Want::Best };
        Job::next(&mut self.sequence, want)
    }

    /// Takes what a sweep gave for its rows. `positions`: as many as a text may have.
    fn take(&mut self, outputs: Vec<Result<Output>>, positions: usize) -> Result<Option<Event>> {
        let Some(mut reading) = self.reading.take() else {
            let Some(output) = outputs.into_iter().next() else { return Ok(None) };
            return self.go_on(output?, positions).map(|delta| Some(Event::Delta(delta)));
        };
        let (ids, len) = (&self.sequence.ids, self.sequence.state.len as usize);
        let first = len - outputs.len();
        if first == 0 {
            reading.restart();
        }
        let mut last = None;
        for (position, output) in (first..).zip(outputs) {
            last = Some(output?);
            last.iter().for_each(|output| reading.take(output, ids.get(position + 1).copied()));
        }
        let Some(last) = last.filter(|_| len == ids.len()) else {
            self.reading = Some(reading);
            return Ok(None);
        };
        match reading {
            Reading::Embedding { sums, rows, .. } => {
                Ok(Some(Event::Values { request: self.id, values: reading::mean(&sums, rows) }))
            }
            Reading::Next { told, .. } => Ok(Some(Event::Values { request: self.id, values: told })),
            Reading::Logprobs { told, .. } => {
                let mut delta = match self.options.max_tokens {
                    0 => TextDelta::new(self.id, None, self.stream.finish(), Some(StopReason::MaxTokens)),
                    _ => self.go_on(last, positions)?,
                };
                delta.prompt_logprobs = told;
                Ok(Some(Event::Delta(delta)))
            }
        }
    }

    /// The next token of its text.
    fn go_on(&mut self, output: Output, positions: usize) -> Result<TextDelta> {
        let mut grammar = self.grammar.as_mut().filter(|_| self.stream.writes_answer());
        let (id, logprobs) = match output {
            Output::Best(id) => {
                self.sampler.choose(&[id]);
                (id, None)
            }
            Output::Logits(logits) => {
                let id = match &mut grammar {
                    Some(grammar) => {
                        let allowed = grammar.allowed()?;
                        self.sampler.sample_among(&logits, |id| allowed.has(id))?
                    }
                    None => self.sampler.sample(&logits)?,
                };
                (id, self.options.logprobs.and_then(|top| TokenLogprobs::new(&logits, id, top)))
            }
            Output::Hidden(_) => {
                return Err(Error::new(ErrorKind::Internal, "a hidden state where a token was asked for"));
            }
        };
        self.sequence.ids.push(id);
        self.new_tokens += 1;
        let is_thought = !self.stream.writes_answer();
        let is_met = grammar.map(|grammar| grammar.take(id)).transpose()?.unwrap_or(false);
        let (mut parts, mut stop) = self.stream.push(id);
        if stop.is_none() {
            stop = match () {
                () if is_met => Some(StopReason::EndOfTurn),
                () if self.new_tokens >= self.options.max_tokens => Some(StopReason::MaxTokens),
                () if self.sequence.ids.len() >= positions => Some(StopReason::ContextFull),
                () => None,
            };
            if stop.is_some() {
                parts.append(&self.stream.finish());
            }
        }
        let cached_tokens = std::mem::take(&mut self.known);
        Ok(TextDelta { is_thought, logprobs, cached_tokens, ..TextDelta::new(self.id, Some(id), parts, stop) })
    }
}

/// The requests of a model.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// The oldest first; those that were let in before stand first.
    waiting: VecDeque<Running>,
    /// The oldest first.
    running: Vec<Running>,
    /// Texts that ended, the last used last: a prompt that begins like one of them is not computed again so far.
    kept: VecDeque<Sequence>,
    /// Beginnings of prompts, the last used last: what cannot be cut back goes on from there.
    snapshots: VecDeque<(Vec<u32>, Snapshot)>,
    events: VecDeque<Event>,
    next_id: u64,
    /// New devices since the last token, and in all.
    reopened: u32,
    devices_lost: u32,
}

impl Scheduler {
    /// Takes a request.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for one that can never run; the others go on.
    pub(crate) fn submit(&mut self, core: &Core, request: Request) -> Result<RequestId> {
        let id = RequestId(self.next_id);
        self.waiting.push_back(Running::new(core, id, request)?);
        self.next_id += 1;
        Ok(id)
    }

    /// Ends a request; what it said so far is told no more.
    pub(crate) fn cancel(&mut self, core: &mut Core, id: RequestId) {
        self.events.retain(|event| event.request() != id);
        self.waiting.retain(|running| running.id != id);
        if let Some(index) = self.running.iter().position(|running| running.id == id) {
            let running = self.running.remove(index);
            self.keep(core, running.sequence);
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.events.is_empty()
    }

    /// How often the device failed and a new one went on.
    pub(crate) fn devices_lost(&self) -> u32 {
        self.devices_lost
    }

    /// What comes next of these requests, or of all of them. What comes of others in the meantime waits for who asks for it.
    /// None: there is nothing to do for them.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] where the model's token asks to stop. The requests are then as they were.
    pub(crate) async fn next(&mut self, core: &mut Core, of: Option<&[RequestId]>) -> Result<Option<Event>> {
        let wanted = |id: RequestId| of.is_none_or(|of| of.contains(&id));
        loop {
            if let Some(place) = self.events.iter().position(|event| wanted(event.request())) {
                return Ok(self.events.remove(place));
            }
            if !self.waiting.iter().chain(&self.running).any(|running| wanted(running.id)) {
                return Ok(None);
            }
            self.admit(core).await;
            self.make_room(core).await;
            if self.running.is_empty() {
                continue;
            }
            match self.step(core).await {
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => self.recover(core, error).await,
                Ok(()) => {}
            }
        }
    }

    /// Goes on after a sweep failed: with another device where that helps, and else with other requests.
    async fn recover(&mut self, core: &mut Core, error: Error) {
        let less_memory = error.kind() == ErrorKind::GpuMemory;
        if !(less_memory || error.kind() == ErrorKind::DeviceLost) || self.reopened >= MOST_REOPENED {
            return self.fail_all(core, &error);
        }
        match core.reopen(less_memory).await {
            Ok(()) => {
                self.device_changed();
                self.reopened += 1;
                self.devices_lost += 1;
            }
            // Where it cannot be opened with less either, the first error tells why.
            Err(other) => self.fail_all(core, if less_memory { &error } else { &other }),
        }
    }

    /// Forgets the texts that nobody continues, and those of a device that is gone.
    pub(crate) fn forget(&mut self, core: &mut Core) {
        while self.forget_oldest(core) {}
    }

    /// Gives up the states of a text that nobody continues, or else those of the beginning of one.
    fn forget_oldest(&mut self, core: &mut Core) -> bool {
        if let Some(mut oldest) = self.kept.pop_front() {
            core.engine.kv().truncate(&mut oldest.state, 0);
        } else if let Some((_, oldest)) = self.snapshots.pop_front() {
            core.engine.kv().forget(oldest);
        } else {
            return false;
        }
        true
    }

    /// The device is gone, and all states with it.
    pub(crate) fn device_changed(&mut self) {
        self.kept.clear();
        self.snapshots.clear();
        for running in &mut self.running {
            running.sequence.state = SequenceState::default();
            running.chain.restart();
        }
    }

    /// What ended every request.
    fn fail_all(&mut self, core: &mut Core, error: &Error) {
        for mut running in self.running.drain(..).chain(self.waiting.drain(..)) {
            core.engine.kv().truncate(&mut running.sequence.state, 0);
            self.events.push_back(Event::Failed { request: running.id, error: error.clone() });
        }
    }

    fn fail(&mut self, core: &mut Core, index: usize, error: Error) {
        let mut running = self.running.remove(index);
        core.engine.kv().truncate(&mut running.sequence.state, 0);
        self.events.push_back(Event::Failed { request: running.id, error });
    }

    /// Lets waiting requests in, the oldest first, while there is room for their texts so far.
    async fn admit(&mut self, core: &mut Core) {
        while self.running.len() < core.engine.sequences() as usize {
            let Some(mut running) = self.waiting.pop_front() else { break };
            let mut outside = 0;
            if !running.reading.as_ref().is_some_and(Reading::needs_every_row) {
                outside = Self::kept_outside(core, &mut running);
                self.take_prefix(core, &mut running.sequence);
            }
            let state = &mut running.sequence.state;
            if outside > state.len {
                core.engine.kv().truncate(state, state.len / PAGE_TOKENS * PAGE_TOKENS);
            }
            let positions = running.sequence.ids.len() as u32 + 1;
            // The only one may have the cache grow in any case.
            if !self.reserve(core, &mut running.sequence, positions)
                && !self.running.is_empty()
                && !reserve_in_company(core, &mut running.sequence, positions).await
            {
                core.engine.kv().truncate(&mut running.sequence.state, 0);
                self.waiting.push_front(running);
                break;
            }
            if outside > running.sequence.state.len {
                Self::bring(core, &mut running, outside).await;
            }
            if running.new_tokens == 0 {
                running.known = running.sequence.state.len;
            }
            let index = self.running.partition_point(|other| other.id < running.id);
            self.running.insert(index, running);
        }
    }

    /// Gives a sequence pages for so many positions, forgetting texts that nobody continues.
    fn reserve(&mut self, core: &mut Core, sequence: &mut Sequence, positions: u32) -> bool {
        loop {
            if core.engine.kv().reserve(&mut sequence.state, positions) {
                return true;
            }
            if !self.forget_oldest(core) {
                return false;
            }
        }
    }

    /// Sees to it that every running request has pages for its ids.
    async fn make_room(&mut self, core: &mut Core) {
        let mut index = 0;
        while index < self.running.len() {
            let mut sequence = std::mem::take(&mut self.running[index].sequence);
            let (kv, spec) = core.engine.kv_and_spec();
            sequence.settle(kv, spec);
            let positions = sequence.ids.len() as u32;
            let crowd = self.running.len() > 1;
            let fits = self.reserve(core, &mut sequence, positions)
                || crowd && reserve_in_company(core, &mut sequence, positions).await;
            self.running[index].sequence = sequence;
            if fits {
                index += 1;
            } else if crowd {
                self.preempt_youngest(core);
            } else if let Err(error) = grow(core, &self.running[index].sequence).await {
                self.end_without_room(core, index, error);
            }
        }
    }

    /// The youngest request gives its pages back and waits; it is the next to be let in.
    fn preempt_youngest(&mut self, core: &mut Core) {
        if let Some(mut youngest) = self.running.pop() {
            core.engine.kv().truncate(&mut youngest.sequence.state, 0);
            self.waiting.push_front(youngest);
        }
    }

    /// A text for which the budget has no room: what there is of it is the answer.
    fn end_without_room(&mut self, core: &mut Core, index: usize, error: Error) {
        if error.kind() != ErrorKind::Budget || self.running[index].new_tokens == 0 {
            return self.fail(core, index, error);
        }
        let mut running = self.running.remove(index);
        let (parts, stop) = (running.stream.finish(), Some(StopReason::ContextFull));
        self.events.push_back(Event::Delta(TextDelta::new(running.id, None, parts, stop)));
        self.keep(core, running.sequence);
    }

    /// One sweep for all that run.
    async fn step(&mut self, core: &mut Core) -> Result<()> {
        self.save_prompts(core);
        let positions = core.options.positions(core.files.spec()) as usize;
        let mut jobs: Vec<_> = self.running.iter_mut().map(Running::job).collect();
        let results = batch::sweep_jobs(&mut core.engine, &mut jobs).await?;
        self.write_blocks(core).await;
        let mut ended = Vec::new();
        for (index, (running, outputs)) in self.running.iter_mut().zip(results).enumerate() {
            if !outputs.is_empty() {
                self.reopened = 0;
            }
            match running.take(outputs, positions) {
                Ok(Some(event)) => {
                    if event.is_last() {
                        ended.push((index, None));
                    }
                    self.events.push_back(event);
                }
                Ok(None) => {}
                Err(error) => ended.push((index, Some(error))),
            }
        }
        for (index, error) in ended.into_iter().rev() {
            match error {
                Some(error) => self.fail(core, index, error),
                None => {
                    let running = self.running.remove(index);
                    self.keep(core, running.sequence);
                }
            }
        }
        Ok(())
    }

    /// Keeps the states of a text that ended, for a prompt that goes on with it.
    fn keep(&mut self, core: &mut Core, sequence: Sequence) {
        self.kept.push_back(sequence);
        if self.kept.len() > KEPT_TEXTS.max(core.engine.sequences() as usize) {
            self.forget_oldest(core);
        }
    }
}
