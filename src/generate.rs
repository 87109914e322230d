//! Generation: prompts in, pieces of text out; many requests ride each sweep.

use std::collections::VecDeque;

use crate::auto_model::AutoModel;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::model::batch::{self, Job, Sequence};
use crate::model::inputs::Want;
use crate::model::kv::SequenceState;
use crate::model::readback::Output;
use crate::text::{Parts, Sampler, SamplerOptions, StopReason, StopTexts, TextStream};
use crate::{Error, ErrorKind, Result};

/// New devices in a row that bring no token before the error is passed on.
const MOST_REOPENED: u32 = 2;

/// How to continue a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// New tokens at most.
    pub max_tokens: u32,
    pub sampler: SamplerOptions,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Go on after an end-of-turn token.
    pub ignore_eos: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 256, sampler: SamplerOptions::default(), stop: Vec::new(), ignore_eos: false }
    }
}

/// A prompt and how to continue it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub prompt: Vec<u32>,
    pub options: GenerateOptions,
}

/// What came out of one token, or the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Index of the request.
    pub request: usize,
    /// The new token; none where only held-back text comes out.
    pub id: Option<u32>,
    /// Text of the answer that is certain now; often empty, never part of a character.
    pub text: String,
    /// Text of what the model thinks before it answers, likewise.
    pub reasoning: String,
    /// Why the request ended, on its last piece.
    pub stop: Option<StopReason>,
}

impl Piece {
    fn new(request: usize, id: Option<u32>, parts: Parts, stop: Option<StopReason>) -> Self {
        Self { request, id, text: parts.answer, reasoning: parts.reasoning, stop }
    }
}

/// Refuses what can never run, before anything does.
fn check(model: &AutoModel, request: &Request) -> Result<()> {
    let Request { prompt, options } = request;
    if prompt.is_empty() || options.max_tokens == 0 {
        return Err(Error::new(ErrorKind::Argument, "a prompt has no tokens, or none may be generated"));
    }
    model.check_ids(prompt, 1)?;
    options.sampler.validate()?;
    StopTexts::new(options.stop.clone()).map(|_| ())
}

struct Active {
    request: usize,
    sequence: Sequence,
    options: GenerateOptions,
    sampler: Sampler,
    stream: TextStream,
    new_tokens: u32,
    /// It was let in without pages for all it may need, and grows the cache. Nobody joins it and takes those pages.
    grows: bool,
}

impl Active {
    /// What the next sweep does for it.
    fn job(&mut self) -> Job<'_> {
        let want = if self.sampler.needs_logits() { Want::Logits } else { Want::Best };
        Job::next(&mut self.sequence, want)
    }
}

/// Answers under way; [`Generation::next`] gives their pieces as they come.
pub struct Generation<'m> {
    model: &'m mut AutoModel,
    waiting: VecDeque<(usize, Request)>,
    active: Vec<Active>,
    pieces: VecDeque<Piece>,
    /// Whether the only sequence is kept for the next prompt.
    single: bool,
    requests_taken: usize,
    /// New devices since the last token, and in all.
    reopened: u32,
    devices_lost: u32,
}

impl<'m> Generation<'m> {
    pub(crate) fn new(model: &'m mut AutoModel, requests: Vec<Request>) -> Result<Self> {
        for request in &requests {
            check(model, request)?;
        }
        let (single, requests_taken) = (requests.len() == 1, requests.len());
        let waiting = requests.into_iter().enumerate().collect();
        Ok(Self {
            model,
            waiting,
            active: Vec::new(),
            pieces: VecDeque::new(),
            single,
            requests_taken,
            reopened: 0,
            devices_lost: 0,
        })
    }

    /// Takes one more request, which shares the sweeps of those under way; gives its index. Where the budget has no room for
    /// its prompt, its only piece has no token, and ends with [`StopReason::ContextFull`].
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`AutoModel::generate`]; the others go on.
    pub fn add(&mut self, request: Request) -> Result<usize> {
        check(self.model, &request)?;
        let index = self.requests_taken;
        self.waiting.push_back((index, request));
        self.requests_taken += 1;
        self.single = false;
        Ok(index)
    }

    /// The next piece of any request; none when all are done.
    ///
    /// # Errors
    /// Those of reads and of the GPU. A device that is lost is replaced first, and one that ran out of memory gets less to do;
    /// [`ErrorKind::DeviceLost`] and [`ErrorKind::GpuMemory`] come where that failed again and again. After
    /// [`ErrorKind::Cancelled`] the model can be used again.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            self.admit().await?;
            if self.active.is_empty() {
                return Ok(None);
            }
            match self.step().await {
                Err(error) if self.reopened < MOST_REOPENED => match error.kind() {
                    ErrorKind::DeviceLost => self.reopen(false).await?,
                    // Where it cannot be opened with less either, the first error tells why.
                    ErrorKind::GpuMemory if self.reopen(true).await.is_err() => return Err(error),
                    ErrorKind::GpuMemory => {}
                    _ => return Err(error),
                },
                result => result?,
            }
        }
    }

    /// Goes on with a new device after the old one failed: what the cache held is computed anew.
    async fn reopen(&mut self, less_memory: bool) -> Result<()> {
        self.reopened += 1;
        self.devices_lost += 1;
        self.model.reopen(less_memory).await?;
        for active in &mut self.active {
            active.sequence.state = SequenceState::default();
        }
        Ok(())
    }

    /// How often the device failed and a new one went on.
    pub fn devices_lost(&self) -> u32 {
        self.devices_lost
    }

    /// The model that answers.
    pub fn model(&mut self) -> &mut AutoModel {
        self.model
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<Piece>> + 'm {
        futures::stream::unfold(Some(self), |generation| async {
            let mut generation = generation?;
            match generation.next().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(generation))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Starts waiting requests while there is room for them.
    async fn admit(&mut self) -> Result<()> {
        while self.active.len() < self.model.engine().sequences() as usize
            && !self.active.iter().any(|active| active.grows)
        {
            let Some((request, Request { prompt, options })) = self.waiting.pop_front() else { break };
            let mut sequence = match self.model.kept.take() {
                Some(mut kept) => {
                    kept.replace(self.model.engine().kv(), prompt);
                    kept
                }
                None => Sequence::new(prompt),
            };
            // What the model cannot have is not reserved.
            let wanted = (sequence.ids.len() as u32).saturating_add(options.max_tokens).min(self.model.positions());
            let fits = self.model.engine().kv().reserve(&mut sequence.state, wanted);
            if !fits && !self.active.is_empty() {
                // It waits until another request gives its pages back.
                self.model.engine().kv().truncate(&mut sequence.state, 0);
                self.waiting.push_front((request, Request { prompt: sequence.ids, options }));
                break;
            }
            let text = self.model.text();
            let stop_ids = if options.ignore_eos { Vec::new() } else { text.stop_ids.clone() };
            let stream = TextStream::new(text.tokenizer.clone(), stop_ids, options.stop.clone())?;
            let stream = stream.with_reasoning(text.reasoning.as_ref(), &sequence.ids);
            let mut sampler = Sampler::new(options.sampler.clone())?;
            sampler.observe(&sequence.ids);
            self.active.push(Active { request, sequence, options, sampler, stream, new_tokens: 0, grows: !fits });
        }
        Ok(())
    }

    /// One sweep for all that are active.
    async fn step(&mut self) -> Result<()> {
        self.make_room().await?;
        if self.active.is_empty() {
            return Ok(());
        }
        let mut jobs: Vec<_> = self.active.iter_mut().map(Active::job).collect();
        let results = batch::sweep_jobs(self.model.engine(), &mut jobs).await?;
        let most = self.model.positions() as usize;
        let mut ended = Vec::new();
        for (index, (active, next)) in self.active.iter_mut().zip(results).enumerate() {
            let id = match next.into_iter().next().transpose()? {
                Some(Output::Best(id)) => id,
                Some(Output::Logits(logits)) => active.sampler.sample(&logits)?,
                Some(Output::Hidden(_)) | None => continue,
            };
            self.reopened = 0;
            active.sequence.ids.push(id);
            active.sampler.observe(&[id]);
            active.new_tokens += 1;
            let (mut parts, mut stop) = active.stream.push(id);
            if stop.is_none() {
                stop = match () {
                    () if active.new_tokens >= active.options.max_tokens => Some(StopReason::MaxTokens),
                    () if active.sequence.ids.len() >= most => Some(StopReason::ContextFull),
                    () => None,
                };
                if stop.is_some() {
                    parts.append(&active.stream.finish());
                }
            }
            self.pieces.push_back(Piece::new(active.request, Some(id), parts, stop));
            if stop.is_some() {
                ended.push(index);
            }
        }
        for index in ended.into_iter().rev() {
            let active = self.active.remove(index);
            self.give_back(active.sequence);
        }
        Ok(())
    }

    /// Sees to it that every active sequence has pages for its ids; a single one may grow the cache.
    async fn make_room(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.active.len() {
            let positions = self.active[index].sequence.ids.len() as u32;
            let state = &mut self.active[index].sequence.state;
            if self.model.engine().kv().reserve(state, positions) {
                index += 1;
                continue;
            }
            let needed = self.model.engine().kv().pages_needed(state, positions).into_iter().max().unwrap_or(0);
            // Growth gives up pinned tiles and starts the read-ahead anew, so it goes in steps.
            let step = needed.max(u64::from(positions) / u64::from(PAGE_TOKENS) / 4);
            let engine = self.model.engine();
            let grown = match engine.grow_kv(step).await {
                Err(error) if error.kind() == ErrorKind::Budget && step > needed => engine.grow_kv(needed).await,
                other => other,
            };
            match grown {
                Ok(()) => {}
                Err(error)
                    if error.kind() == ErrorKind::Budget && (self.active[index].new_tokens > 0 || !self.single) =>
                {
                    let mut active = self.active.remove(index);
                    let (parts, stop) = (active.stream.finish(), Some(StopReason::ContextFull));
                    self.pieces.push_back(Piece::new(active.request, None, parts, stop));
                    self.give_back(active.sequence);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The last text stays in the cache where there is only one; otherwise its pages go to those that wait.
    fn give_back(&mut self, mut sequence: Sequence) {
        if self.single {
            self.model.kept = Some(sequence);
        } else {
            self.model.engine().kv().truncate(&mut sequence.state, 0);
        }
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        for active in std::mem::take(&mut self.active) {
            self.give_back(active.sequence);
        }
    }
}
