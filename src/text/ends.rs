//! Tokens that end a turn, whatever ids the configs name: by their text, and by what the chat template writes behind a turn.

use std::collections::BTreeSet;

use super::{ChatTemplate, Message, RenderOptions, Tokenizer};

/// Nothing but the end of a turn or of a text is called so.
const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<end_of_turn>",
    "<turn|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<|endofturn|>",
    "<|END_OF_TURN_TOKEN|>",
    "[|endofturn|]",
    "<|assistant_end|>",
    "<|role_end|>",
    "<|endofresponse|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|eos|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
];
/// Called so elsewhere too (HTML's `</s>` in Gemma's vocabulary): only as special tokens.
const SPECIAL_ENDS: &[&str] = &["</s>", "<eos>", "<|end|>"];
/// GLM has no token for the end of a turn: the model goes on with the mark of the next one.
const GLM_ROLES: &[&str] = &["<|user|>", "<|assistant|>", "<|observation|>"];
const GLM_ENDS: &[&str] = &["<|user|>", "<|observation|>"];
/// Where these are, `<|end|>` ends a message, behind which the same turn goes on.
const MESSAGE_END: &str = "<|end|>";
const WITH_MESSAGES: &[[&str; 2]] = &[["<|return|>", "<|call|>"], ["<|flush|>", "<|calls|>"]];
/// Text that no template changes, to find the answer by.
const ANSWER: &str = "qzx answer qzx";

/// Adds to `ids` the ends that the vocabulary and the template tell of, and takes out what ends no turn.
pub fn join_ends(ids: &mut BTreeSet<u32>, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) {
    let special = |text: &&str| tokenizer.added_id(text).filter(|id| tokenizer.is_special(*id));
    ids.extend(ENDS.iter().filter_map(|text| tokenizer.added_id(text)));
    ids.extend(SPECIAL_ENDS.iter().filter_map(special));
    if GLM_ROLES.iter().all(|text| special(text).is_some()) {
        ids.extend(GLM_ENDS.iter().filter_map(special));
    }
    ids.extend(template.into_iter().flat_map(|template| written_ends(tokenizer, template)));
    let has_messages = |pair: &[&str; 2]| pair.iter().all(|text| tokenizer.added_id(text).is_some());
    if WITH_MESSAGES.iter().any(has_messages)
        && let Some(id) = tokenizer.added_id(MESSAGE_END)
    {
        ids.remove(&id);
    }
}

/// The tokens that a template writes right behind an answer, in the middle of a chat and at its end. A template that refuses
/// such a chat tells nothing.
fn written_ends(tokenizer: &Tokenizer, template: &ChatTemplate) -> Vec<u32> {
    let chat = [Message::user("one"), Message::assistant(ANSWER), Message::user("two")];
    let options = RenderOptions { add_generation_prompt: false, ..RenderOptions::default() };
    let behind = |messages: &[Message]| {
        let text = template.render_with(messages, &options).ok()?;
        let (_, rest) = text.rsplit_once(ANSWER)?;
        // The first token that is no space.
        let ids = tokenizer.encode(rest.trim_start(), false).ok()?;
        ids.first().copied().filter(|id| tokenizer.is_added(*id))
    };
    [behind(&chat), behind(&chat[..2])].into_iter().flatten().collect()
}

#[cfg(test)]
#[path = "ends_tests.rs"]
mod tests;
