//! `tilestream score`: how likely the model finds a text.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;
use tilestream::{Error, ErrorKind, Result};

use crate::args::ScoreArgs;
use crate::fetching::Fetching;
use crate::model;
use crate::run::show;

/// Rows of logits in one sweep, when the budget allows.
const HEAD_ROWS: u32 = 16;
/// Entries of `top`.
const TOP: usize = 10;

/// Runs the command.
pub fn score(args: &ScoreArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    pollster::block_on(async {
        let files = model::open(&args.model, stop).await?;
        let ids = match (&args.ids_file, &args.text_file) {
            (Some(file), _) => model::read_ids(file)?,
            (None, Some(file)) => files.text().tokenizer()?.encode(&model::read_text(file)?, false)?,
            (None, None) => Vec::new(),
        };
        if ids.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "there is nothing to score"));
        }
        let mut options = model::load_options(&args.model, Some(u32::try_from(ids.len()).unwrap_or(u32::MAX)));
        options.check_length(files.spec(), ids.len(), 0)?;
        options.sequences = HEAD_ROWS.min(ids.len() as u32);
        while options.sequences > 1 && files.smallest_budget(&options, false)? > options.budget_bytes {
            options.sequences /= 2;
        }
        let fetching = Fetching::show(&files);
        let mut model = model::load(files, &options, stop).await?;
        let (mut nll, mut last) = (0.0_f64, Vec::new());
        let visit = |position: usize, logits: &[f32]| {
            match ids.get(position + 1) {
                Some(next) => nll -= log_probability(logits, *next as usize),
                None => last = logits.to_vec(),
            }
            Ok(())
        };
        model.score(&ids, visit).await?;
        drop(fetching);
        let predicted = ids.len() - 1;
        let mean = if predicted > 0 { Some(nll / predicted as f64) } else { None };
        let mut order: Vec<usize> = (0..last.len()).collect();
        order.sort_by(|a, b| last[*b].total_cmp(&last[*a]).then(a.cmp(b)));
        let top: Vec<_> = order.iter().take(TOP).map(|id| json!([id, last[*id]])).collect();
        let object = json!({ "tokens": ids.len(), "nll": mean, "top": top, "last_logits": last });
        show(&format!("{object}\n"))
    })
}

/// `log softmax(logits)[id]`, in f64.
fn log_probability(logits: &[f32], id: usize) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    f64::from(logits[id] - top) - sum.ln()
}
