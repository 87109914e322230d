use proptest::prelude::*;

use super::*;
use crate::text::tokenizer_tests::golden;

/// The ids of `tokenizers` and of `sentencepiece`, made by `tools/golden/make_text.py`.
#[test]
fn ids_are_those_of_the_reference() {
    for name in ["byte_level", "sentencepiece"] {
        let (tokenizer, _, cases) = golden(name);
        assert!(cases.len() >= 30);
        for (text, ids, decoded) in cases {
            assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids), decoded, "{name}: {text:?}");
        }
    }
}

/// The control for the test above: without the right merges, or with another cut, the ids are others.
#[test]
fn wrong_fields_give_other_ids() {
    let differs = |name: &str, change: fn(&mut GgufTokenizer)| {
        let (_, mut fields, cases) = golden(name);
        change(&mut fields);
        let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
        cases.iter().any(|(text, ids, _)| tokenizer.encode(text, true).unwrap() != *ids)
    };
    assert!(!differs("byte_level", |_| ()));
    assert!(differs("byte_level", |fields| fields.merges.reverse()));
    assert!(differs("byte_level", |fields| fields.pre = Some("llama-bpe".into())));
    assert!(differs("byte_level", |fields| fields.token_types.clear()));
    assert!(differs("byte_level", |fields| fields.add_bos = Some(true)));
    assert!(differs("sentencepiece", |fields| fields.scores.reverse()));
    assert!(differs("sentencepiece", |fields| fields.add_space_prefix = Some(false)));
}

fn cut(pre: &str, text: &str) -> Vec<String> {
    // Every byte is a token and nothing merges, but a whole piece that is a token stays whole.
    let row = pre_tokenizers::find(pre).unwrap().to_json();
    let pre: tokenizers::PreTokenizerWrapper = serde_json::from_value(row).unwrap();
    let mut cut = tokenizers::PreTokenizedString::from(text);
    tokenizers::PreTokenizer::pre_tokenize(&pre, &mut cut).unwrap();
    let pieces = cut.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
    pieces.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
}

#[test]
fn each_pre_tokenizer_cuts_as_published() {
    let table: &[(&str, &str, &[&str])] = &[
        ("gpt-2", "I'll pay 1234 now!\n\n  ok", &["I", "'ll", " pay", " 1234", " now", "!", "\n\n ", " ok"]),
        ("smollm", "in 1234 x", &["in", " ", "1", "2", "3", "4", " x"]),
        (
            "llama-bpe",
            "I'LL pay 12345 now!\n\n  ok",
            &["I", "'LL", " pay", " ", "123", "45", " now", "!\n\n", " ", " ok"],
        ),
        ("qwen2", "pay 123 (now)", &["pay", " ", "1", "2", "3", " (", "now", ")"]),
        ("tekken", "camelCase 12/\nÉté", &["camel", "Case", " ", "1", "2", "/\n", "Été"]),
        ("gpt-4o", "camelCase's 1234", &["camel", "Case's", " ", "123", "4"]),
        ("deepseek-v3", "日本12345 x.y, (ok)", &["日本", "123", "45", " x", ".y", ",", " (", "ok", ")"]),
    ];
    for (pre, text, expected) in table {
        assert_eq!(cut(pre, text), *expected, "{pre}");
    }
}

#[test]
fn every_row_of_the_table_loads() {
    let (_, fields, _) = golden("byte_level");
    for (name, row) in pre_tokenizers::all() {
        let fields = GgufTokenizer { pre: Some(name.into()), ..fields.clone() };
        let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
        let ids = tokenizer.encode("The rivér 12", true).unwrap();
        assert_eq!(tokenizer.decode(&ids), "The rivér 12", "{name}");
        assert_eq!(ids[0] == fields.bos.unwrap(), row.add_bos, "{name}");
    }
    let names: Vec<_> = pre_tokenizers::all().map(|(name, _)| name).collect();
    assert_eq!(names.len(), names.iter().collect::<std::collections::BTreeSet<_>>().len(), "a name stands twice");
}

#[test]
fn puts_tokens_around_a_text_where_the_file_says() {
    let ids = |add_bos, add_eos| {
        let fields = GgufTokenizer { add_bos, add_eos, ..golden("byte_level").1 };
        Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap().encode("", true).unwrap()
    };
    assert_eq!(ids(None, None), [] as [u32; 0]);
    assert_eq!(ids(Some(true), Some(false)), [0]);
    assert_eq!(ids(Some(true), Some(true)), [0, 1]);
    // A SentencePiece model has a beginning of text unless it says otherwise.
    let fields = GgufTokenizer { add_bos: None, ..golden("sentencepiece").1 };
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
    assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
}

#[test]
fn refuses_what_it_does_not_know() {
    type Change = fn(&mut GgufTokenizer);
    let refused = |change: Change| {
        let (_, mut fields, _) = golden("byte_level");
        change(&mut fields);
        let error = tokenizer_json(&fields).unwrap_err();
        (error.kind(), error.to_string())
    };
    let table: [(Change, ErrorKind, &str); 6] = [
        (|f| f.model = "bert".into(), ErrorKind::Unsupported, "'bert'"),
        (|f| f.pre = Some("chameleon".into()), ErrorKind::Unsupported, "'chameleon' is not known; use the checkpoint"),
        (|f| f.tokens.clear(), ErrorKind::Text, "no tokens"),
        (|f| f.merges.push("one".into()), ErrorKind::Text, "\"one\""),
        (|f| f.merges.push("one two".into()), ErrorKind::Text, "one"),
        (|f| f.merges.push("a b c".into()), ErrorKind::Text, ""),
    ];
    for (change, kind, expected) in table {
        let (found, text) = refused(change);
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn of_equal_tokens_the_first_keeps_the_text() {
    let (_, mut fields, _) = golden("sentencepiece");
    let repeated = fields.tokens[300].clone();
    fields.tokens.push(repeated.clone());
    fields.scores.push(0.0);
    fields.token_types.push(1);
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
    assert_eq!(tokenizer.id(&repeated), Some(300));
}

proptest! {
    #[test]
    fn no_fields_panic(
        tokens in proptest::collection::vec("[ab▁<>é ]{0,4}", 0..12),
        kinds in proptest::collection::vec(0i32..8, 0..12),
        scores in proptest::collection::vec(any::<f32>(), 0..12),
        merges in proptest::collection::vec("[ab ]{0,4}", 0..4),
        llama in any::<bool>(), bos in proptest::option::of(0u32..14), text in "[ab é<>]{0,10}",
    ) {
        let fields = GgufTokenizer {
            model: if llama { "llama" } else { "gpt2" }.into(),
            tokens, scores, merges, token_types: kinds, bos, add_bos: Some(true), unk: bos,
            ..GgufTokenizer::default()
        };
        if let Ok(json) = tokenizer_json(&fields) {
            let _ = Tokenizer::from_bytes(&json).unwrap().encode(&text, true);
        }
    }
}
