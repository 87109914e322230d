//! The table of families as a list: what a page says of each class.

use super::NormKind;
use super::families::{self, Family, Flag, HeadNorm, Rope, Shared};

/// A class that checkpoints may have.
#[derive(Clone, Debug)]
pub struct ListedClass {
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// What it has that Llama has not, in a few words each.
    pub special: Vec<&'static str>,
    /// The class of its text part, where it takes more than text and its config does not say another.
    pub text: Option<&'static str>,
}

/// Every class of the table, sorted.
pub fn listed_classes() -> Vec<ListedClass> {
    let mut classes: Vec<ListedClass> = Vec::new();
    for row in families::families() {
        match classes.iter_mut().find(|known| known.class == row.class) {
            // Several rows of a class have all that any of them has.
            Some(known) => known.special.extend(special(row)),
            None => classes.push(ListedClass { class: row.class, special: special(row), text: None }),
        }
    }
    let wholes = families::classes().filter_map(families::whole);
    classes.extend(wholes.map(|whole| ListedClass { class: whole.class, special: Vec::new(), text: Some(whole.text) }));
    for class in &mut classes {
        let mut seen = Vec::new();
        class.special.retain(|words| {
            !seen.contains(words) && {
                seen.push(*words);
                true
            }
        });
    }
    classes.sort_by_key(|class| class.class.to_lowercase());
    classes
}

/// What a row has that Llama's has not.
fn special(row: &Family) -> Vec<&'static str> {
    let reads = |field: &str| row.reads.contains(&field);
    let windows = reads("sliding_window") || reads("layer_types");
    let is_set = |flag: Flag| !matches!(flag, Flag::No);
    let shared = row.experts.map(|experts| experts.shared);
    let all = [
        (row.experts.is_some(), "experts"),
        (shared.is_some_and(|shared| !matches!(shared, Shared::None)), "with a shared one"),
        (row.experts_beside, "beside a block for all tokens"),
        (row.latent, "latent attention (MLA)"),
        (row.delta_rule, "gated delta rule"),
        (windows && !row.chunked, "sliding windows"),
        (row.chunked, "chunks"),
        (row.full_heads, "heads of two sizes"),
        (reads("num_kv_shared_layers"), "keys shared by layers"),
        (reads("hidden_size_per_layer_input"), "embeddings for each layer"),
        (row.streams, "four streams (AltUp)"),
        (row.sinks || row.sinks_in_windows, "attention sinks"),
        (row.output_gate, "gated attention"),
        (!matches!(row.head_norm, HeadNorm::None), "norms of queries and keys"),
        (row.norms.after_attention.is_some(), "norms behind blocks"),
        (row.norm == NormKind::Layer, "LayerNorm"),
        (!row.norm_weights, "norms without weights"),
        (is_set(row.parallel), "parallel blocks"),
        (!row.gated && !row.learned_curve, "no gate"),
        (row.learned_curve, "xIELU"),
        (matches!(row.rope, Rope::Alibi), "ALiBi"),
        (matches!(row.rope, Rope::HalvesInWindows | Rope::InterleavedInWindows), "positions only in windows"),
        (reads("attn_logit_softcapping") || reads("final_logit_softcapping"), "capped logits"),
        (row.most_positions.is_some(), "up to `index_topk` positions"),
        (row.passed_by.is_some(), "layers for pictures left out"),
    ];
    all.into_iter().filter(|(has, _)| *has).map(|(_, words)| words).collect()
}
