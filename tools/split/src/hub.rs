//! How a checkpoint is taken, as arguments; and work that can be stopped.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use clap::Args;
use tilestream::internals::source::{Secret, SourceOptions};
use tilestream::{Error, ErrorKind, Result};

/// How a checkpoint is taken, on this machine or on the Hugging Face Hub.
#[derive(Args, Clone, Debug, Default)]
pub struct HubArgs {
    /// A token of the Hub, for gated and private models [default: HF_TOKEN, or what `hf auth login` keeps]
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub hf_token: Option<Secret>,
    /// The file to take of a model on the Hub that has several, such as GGUF files; or FOLDER/NAME
    #[arg(long = "file", value_name = "NAME")]
    pub hub_file: Option<String>,
    /// Go on without a field of config.json (or a metadata key of a GGUF file) that is not known, named as the error names it
    /// (`rope_scaling.attn_factor`); may be given several times.
    /// Only for one that does not change the model's numbers
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub ignore_field: Vec<String>,
    /// Read a checkpoint whose class is not known as one of this class, which an error names that it is like. What comes of it
    /// may be wrong: look at it
    #[arg(long = "as", value_name = "CLASS")]
    pub class: Option<String>,
}

impl HubArgs {
    /// The library's options; checkpoints are split to `shards_dir`.
    pub fn options(&self, shards_dir: Option<&Path>) -> SourceOptions {
        let mut options = SourceOptions::default().ignored_fields(self.ignore_field.clone());
        options.token = self.hf_token.clone();
        options.file = self.hub_file.clone();
        options.class = self.class.clone();
        options.cache_dir = shards_dir.map(Path::to_owned);
        options
    }
}

/// Takes any text: what clap refuses, it shows.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret(text.to_owned()))
}

/// Ends work that waits for the network when `stop` becomes true. What was written so far is continued by the next run.
///
/// # Errors
/// [`ErrorKind::Cancelled`], and those of the work.
pub async fn stoppable<T>(stop: &AtomicBool, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        let done = work.as_mut().poll(context);
        if done.is_pending() && stop.load(Ordering::Relaxed) {
            return Poll::Ready(Err(Error::new(ErrorKind::Cancelled, "stopped")));
        }
        done
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_the_command_line_is_not_shown() {
        let args = HubArgs { hf_token: Some(Secret("hf_secret".into())), ..HubArgs::default() };
        assert!(!format!("{args:?}").contains("hf_secret"));
    }
}
