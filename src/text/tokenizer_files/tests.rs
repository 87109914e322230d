use serde_json::json;

use super::*;
use crate::checkpoint::tokenizer_files::ranks::{Merges, Ranks};
use crate::checkpoint::tokenizer_files::sentencepiece::{Algorithm, Piece, PieceKind, SentencePiece};

fn piece(text: &str, score: f32, kind: PieceKind) -> Piece {
    Piece { text: text.to_owned(), score, kind }
}

/// `<unk>`, `<s>`, `</s>`, then a few letters and what they merge to.
fn model(algorithm: Algorithm) -> SentencePiece {
    let mut pieces = vec![
        piece("<unk>", 0.0, PieceKind::Unknown),
        piece("<s>", 0.0, PieceKind::Control),
        piece("</s>", 0.0, PieceKind::Control),
    ];
    let texts = ["▁", "a", "b", "ab", "▁ab"];
    pieces.extend(texts.iter().zip(1..).map(|(text, rank)| piece(text, -(rank as f32), PieceKind::Normal)));
    SentencePiece {
        pieces,
        algorithm,
        byte_fallback: false,
        unk: 0,
        bos: Some(1),
        eos: Some(2),
        add_dummy_prefix: true,
        remove_extra_whitespaces: false,
        charsmap: Vec::new(),
    }
}

fn files(vocabulary: Vocabulary) -> TokenizerFiles {
    TokenizerFiles { name: "the/file".to_owned(), vocabulary, added_tokens: None, special_tokens: None }
}

fn sentencepiece(model: SentencePiece) -> TokenizerFiles {
    files(Vocabulary::SentencePiece(model))
}

fn bytes() -> Vec<(Vec<u8>, u32)> {
    (0..=u8::MAX).map(|byte| (vec![byte], u32::from(byte))).collect()
}

fn merges() -> TokenizerFiles {
    let vocab = [("a", 0), ("b", 1), ("ab", 2)].map(|(text, id)| (text.to_owned(), id)).into_iter().collect();
    files(Vocabulary::Merges(Merges { vocab, merges: vec![("a".to_owned(), "b".to_owned())] }))
}

fn made(files: &TokenizerFiles, config: &Value) -> Tokenizer {
    let json = tokenizer_json_from_files(files, Some(config), &Value::Null).expect("made");
    Tokenizer::from_bytes(&json).expect("loads")
}

fn refused(files: &TokenizerFiles, config: &Value, kind: ErrorKind, says: &str) {
    let error = tokenizer_json_from_files(files, Some(config), &json!({ "model_type": "new" })).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    let shown = error.to_string();
    assert!(shown.starts_with("the/file: ") && shown.contains(says), "{says}: {shown}");
}

#[test]
fn special_tokens_of_all_files_are_found() {
    let mut files = sentencepiece(model(Algorithm::Bpe));
    files.added_tokens = Some(json!({ "<x>": 20 }));
    files.special_tokens = Some(json!({
        "pad_token": { "content": "<pad>" }, "additional_special_tokens": ["<x>", "<y>"],
        "extra_special_tokens": { "image": "<image>" },
    }));
    let tokenizer = made(&files, &json!({}));
    // What has no id gets the next one.
    let texts = ["<x>", "<pad>", "<y>", "<image>"];
    assert_eq!(texts.map(|text| tokenizer.id(text)), [20, 21, 22, 23].map(Some));
    assert!((20..24).all(|id| tokenizer.is_special(id)));
    assert_eq!(tokenizer.encode("ab<x> ab", true).expect("encodes"), [1, 7, 20, 3, 7]);
    // The newer list goes before the files. A token that is renamed keeps its id.
    let config = json!({
        "added_tokens_decoder": { "21": { "content": "<z>", "rstrip": true }, "2": { "content": "<end>", "special": true } },
        "eos_token": "<end>", "add_eos_token": true, "add_bos_token": false,
    });
    let tokenizer = made(&files, &config);
    let ids = ["<x>", "<z>", "<pad>", "<end>", "</s>"].map(|text| tokenizer.id(text));
    assert_eq!(ids, [None, Some(21), None, Some(2), None]);
    assert_eq!(tokenizer.encode("ab<z> ab<end>", false).expect("encodes"), [7, 21, 7, 2]);
    assert_eq!(tokenizer.encode("ab", true).expect("encodes"), [7, 2]);
    assert_eq!([21, 2, 7].map(|id| tokenizer.is_special(id)), [false, true, false]);
}

#[test]
fn the_prefix_is_where_the_class_puts_it() {
    let (plain, bare) = (sentencepiece(model(Algorithm::Bpe)), {
        let mut bare = model(Algorithm::Bpe);
        bare.add_dummy_prefix = false;
        sentencepiece(bare)
    });
    let table: [(&TokenizerFiles, Value, [u32; 4]); 4] = [
        (&plain, json!({}), [7, 2, 3, 4]),
        (&plain, json!({ "legacy": false }), [7, 2, 4, 0]),
        (&plain, json!({ "legacy": false, "add_prefix_space": false }), [6, 2, 4, 0]),
        (&bare, json!({}), [6, 2, 4, 0]),
    ];
    for (files, config, expected) in table {
        let ids = made(files, &config).encode("ab</s>a", false).expect("encodes");
        assert_eq!(ids, expected[..ids.len()], "{config}");
        assert!(ids.len() == 4 || expected[3] == 0);
    }
}

#[test]
fn user_defined_symbols_are_never_cut() {
    let mut model = model(Algorithm::Bpe);
    model.pieces.push(piece("(a|b]*", 0.0, PieceKind::UserDefined));
    model.pieces.push(piece("▁▁", 0.0, PieceKind::UserDefined));
    let tokenizer = made(&sentencepiece(model), &json!({}));
    for (text, expected) in
        [("(a|b]*", vec![8]), ("a(a|b]*b", vec![3, 4, 8, 5]), ("a  b", vec![3, 4, 9, 5]), ("", vec![])]
    {
        assert_eq!(tokenizer.encode(text, false).expect("encodes"), expected, "{text:?}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    use ErrorKind::{Malformed, Unsupported};
    let ranks = files(Vocabulary::Tiktoken(Ranks { tokens: bytes() }));
    refused(
        &ranks,
        &json!({ "tokenizer_class": "NewTokenizerFast" }),
        Unsupported,
        "'NewTokenizer' (model_type 'new')",
    );
    refused(&ranks, &Value::Null, Unsupported, "model_type 'new'");
    refused(&merges(), &json!({ "tokenizer_class": "NewTokenizer" }), Unsupported, "merges.txt");
    let prefix = json!({ "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true });
    refused(&merges(), &prefix, Unsupported, "add_prefix_space");
    let unused = |algorithm, text: &str| {
        let mut model = model(algorithm);
        model.pieces.push(piece(text, 0.0, PieceKind::Unused));
        sentencepiece(model)
    };
    refused(&unused(Algorithm::Bpe, "aba"), &Value::Null, Unsupported, "unused piece \"aba\"");
    refused(&unused(Algorithm::Unigram, "zz"), &Value::Null, Unsupported, "unused piece");
    made(&unused(Algorithm::Bpe, "<unused0>"), &Value::Null);
    let mut gap = sentencepiece(model(Algorithm::Unigram));
    gap.added_tokens = Some(json!({ "<x>": 20 }));
    refused(&gap, &Value::Null, Unsupported, "for the id 8");
    let mut wrong = merges();
    for added in [json!({ "x": -1 }), json!({ "x": 1 << 24 }), json!({ "x": "1" })] {
        wrong.added_tokens = Some(added);
        refused(&wrong, &json!({ "tokenizer_class": "GPT2Tokenizer" }), Malformed, "\"x\"");
    }
    for decoder in [json!({ "x": "a" }), json!({ "-1": "a" }), json!({ "16777216": "a" }), json!({ "3": 4 })] {
        let config = json!({ "tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": decoder });
        refused(&merges(), &config, Malformed, "added token");
    }
    let broken = json!({ "tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": { "2": "other" } });
    refused(&merges(), &broken, ErrorKind::Text, "tokenizer");
}

#[test]
fn merges_that_outgrow_their_vocabulary_are_refused() {
    // Each of 256 letters up to 1,000 times: 128 million merges.
    let runs =
        bytes().into_iter().flat_map(|(byte, rank)| (1..=1000).map(move |n| (byte.repeat(n), rank * 1000 + n as u32)));
    let ranks = files(Vocabulary::Tiktoken(Ranks { tokens: runs.collect() }));
    refused(&ranks, &json!({ "tokenizer_class": "QWenTokenizer" }), ErrorKind::Text, "merges");
}
