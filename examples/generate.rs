//! Answers a question: `cargo run --release --example generate -- MODEL "QUESTION"`, where MODEL is a split model, a
//! checkpoint folder, a GGUF file, `ORG/NAME` on the Hugging Face Hub, or a model's web address.

use futures::StreamExt;
use tilestream::{AutoModel, GenerateOptions, Message, Result};

/// The answer of `model`, under a budget of 64 MiB; `show` gets each piece as it comes.
pub async fn answer(model: &str, question: &str, mut show: impl FnMut(&str)) -> Result<String> {
    let mut model = AutoModel::from_pretrained(model).budget(64 << 20).load().await?;
    let prompt = model.chat_prompt(&[Message::user(question)])?;
    let options = GenerateOptions::default().max_tokens(32);
    let mut pieces = Box::pin(model.generate(prompt, options)?.into_stream());
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        show(&piece.text);
        text += &piece.text;
    }
    Ok(text)
}

#[allow(dead_code, reason = "the tests of the real model run `answer` of this file")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "cache/model".into());
    let question = arguments.next().unwrap_or_else(|| "What is a tile?".into());
    pollster::block_on(answer(&model, &question, |piece| print!("{piece}")))?;
    println!();
    Ok(())
}
