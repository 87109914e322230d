//! `/metrics`: what happened since the start, in the text format of Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

use super::Server;

/// Version 0.0.4 of the format.
const TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were let in.
    requests: AtomicU64,
    /// Requests that found the queue full.
    turned_away: AtomicU64,
    /// Answers that ended in an error.
    failed: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    new_tokens: AtomicU64,
    /// Requests whose first token came, and the microseconds that they waited for it.
    first_tokens: AtomicU64,
    first_token_us: AtomicU64,
}

/// The counts of one request.
pub struct Counting {
    counters: Arc<Counters>,
    /// When it was let in; none once its first token came.
    asked: Option<Instant>,
}

impl Counters {
    /// A request found the queue full.
    pub fn turned_away(&self) {
        add(&self.turned_away, 1);
    }

    /// A request is let in.
    pub fn begin(self: &Arc<Self>, prompt_tokens: usize) -> Counting {
        add(&self.requests, 1);
        add(&self.prompt_tokens, prompt_tokens as u64);
        Counting { counters: Arc::clone(self), asked: Some(Instant::now()) }
    }

    fn text(&self, under_way: usize) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let waited_s = Duration::from_micros(self.first_token_us.load(Ordering::Relaxed)).as_secs_f64();
        let rows = [
            ("requests_total", "counter", "Requests that were let in.", count(&self.requests)),
            ("requests_turned_away_total", "counter", "Requests that found the queue full.", count(&self.turned_away)),
            ("answers_failed_total", "counter", "Answers that ended in an error.", count(&self.failed)),
            ("answers_under_way", "gauge", "Answers that are made or wait.", under_way as f64),
            ("prompt_tokens_total", "counter", "Tokens of prompts.", count(&self.prompt_tokens)),
            (
                "cached_prompt_tokens_total",
                "counter",
                "Of these, those not computed again.",
                count(&self.cached_tokens),
            ),
            ("generated_tokens_total", "counter", "Tokens of answers.", count(&self.new_tokens)),
            ("first_tokens_total", "counter", "Requests whose first token came.", count(&self.first_tokens)),
            ("first_token_seconds_total", "counter", "Seconds that these waited for it.", waited_s),
        ];
        let row = |(name, kind, help, value)| {
            format!("# HELP tilestream_{name} {help}\n# TYPE tilestream_{name} {kind}\ntilestream_{name} {value}\n")
        };
        rows.map(row).concat()
    }
}

impl Counting {
    /// A token came; the first one tells how much of the prompt was not computed again.
    pub fn token(&mut self, cached_tokens: u32) {
        add(&self.counters.new_tokens, 1);
        add(&self.counters.cached_tokens, u64::from(cached_tokens));
        if let Some(asked) = self.asked.take() {
            add(&self.counters.first_tokens, 1);
            add(&self.counters.first_token_us, u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// An answer ended in an error.
    pub fn failed(&self) {
        add(&self.counters.failed, 1);
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// The counts as text.
pub async fn metrics(State(server): State<Arc<Server>>) -> impl IntoResponse {
    (TYPE, server.counters.text(server.places.taken()))
}
