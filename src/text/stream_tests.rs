use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn byte_level() -> Arc<Tokenizer> {
    Arc::new(crate::text::tokenizer_tests::golden("byte_level").0)
}

fn sentencepiece() -> Arc<Tokenizer> {
    Arc::new(crate::text::tokenizer_tests::golden("sentencepiece").0)
}

fn pieces(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> Vec<String> {
    let mut decoder = TextDecoder::new(tokenizer.clone());
    let mut pieces: Vec<String> = ids.iter().map(|id| decoder.push(*id)).collect();
    pieces.push(decoder.finish());
    pieces
}

fn streamed(tokenizer: &Arc<Tokenizer>, ids: &[u32], stop_ids: &[u32], stops: &[&str]) -> (String, Option<StopReason>) {
    let stops = stops.iter().map(ToString::to_string).collect();
    let mut stream = TextStream::new(Some(tokenizer.clone()), stop_ids.to_vec(), stops).unwrap();
    let mut text = String::new();
    for id in ids {
        let (piece, reason) = stream.push(*id);
        text += &piece.answer;
        if reason.is_some() {
            return (text, reason);
        }
    }
    text += &stream.finish().answer;
    (text, None)
}

#[test]
fn a_character_comes_whole_or_not_at_all() {
    for tokenizer in [byte_level(), sentencepiece()] {
        let text = "x 👩‍👩‍👧 € Ω 語 y";
        let ids = tokenizer.encode(text, false).unwrap();
        let pieces = pieces(&tokenizer, &ids);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        assert!(pieces.iter().filter(|piece| piece.is_empty()).count() > 5, "bytes came alone");
    }
}

#[test]
fn an_incomplete_character_appears_only_at_the_end() {
    let tokenizer = byte_level();
    let ids = tokenizer.encode("a語", false).unwrap();
    let pieces = pieces(&tokenizer, &ids[..ids.len() - 1]);
    assert_eq!(pieces.concat(), "a\u{fffd}");
    assert_eq!(pieces.last().unwrap(), "\u{fffd}");
}

#[test]
fn special_tokens_are_written_where_that_is_asked_for() {
    let tokenizer = byte_level();
    let end = tokenizer.added_id("<|end|>").expect("a token");
    assert!(tokenizer.is_special(end));
    let ids = [tokenizer.encode("one", false).unwrap(), vec![end], tokenizer.encode("two", false).unwrap()].concat();
    for (texts, expected) in [(&[][..], "onetwo"), (&["<|end|>"], "one<|end|>two"), (&["no token"], "onetwo")] {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut stream = TextStream::new(Some(tokenizer.clone()), vec![], vec![]).unwrap().spelling(&texts);
        let text: String = ids.iter().map(|id| stream.push(*id).0.answer).collect();
        assert_eq!(text + &stream.finish().answer, expected);
    }
}

#[test]
fn stops_at_ids_and_texts() {
    let tokenizer = byte_level();
    let ids = tokenizer.encode("one two three<|end|>four", false).unwrap();
    let end = tokenizer.id("<|end|>").unwrap();
    let run = |stop_ids: &[u32], stops: &[&str]| {
        let (text, reason) = streamed(&tokenizer, &ids, stop_ids, stops);
        (text, reason.map(StopReason::as_str))
    };
    assert_eq!(run(&[], &[]), ("one two threefour".into(), None));
    assert_eq!(run(&[end], &[]), ("one two three".into(), Some("end_of_turn")));
    assert_eq!(run(&[end], &["wo th"]), ("one t".into(), Some("stop_text")));
    // Held back as the beginning of a stop text, and given out at the end.
    assert_eq!(run(&[end], &["threes"]), ("one two three".into(), Some("end_of_turn")));
    // A special token has no text, and is found all the same.
    assert_eq!(run(&[], &["<|end|>"]), ("one two three".into(), Some("stop_text")));
    assert_eq!(run(&[], &["zebra", "<|end|>\n"]), ("one two three".into(), Some("stop_text")));
    assert_eq!(run(&[end], &["<|end|>"]), ("one two three".into(), Some("end_of_turn")));
    assert_eq!(run(&[], &["fours"]), ("one two threefour".into(), None));
    assert!(TextStream::new(None, vec![], vec![String::new()]).is_err());
}

#[test]
fn without_a_tokenizer_only_ids_stop() {
    let mut stream = TextStream::new(None, vec![7], vec!["x".into()]).unwrap();
    assert_eq!(stream.push(3), (SplitText::default(), None));
    assert_eq!(stream.push(7), (SplitText::default(), Some(StopReason::EndOfTurn)));
}

proptest! {
    #[test]
    fn pieces_are_the_whole_for_any_ids(ids in proptest::collection::vec(0u32..500, 0..40)) {
        for tokenizer in [byte_level(), sentencepiece()] {
            let pieces = pieces(&tokenizer, &ids);
            let whole = tokenizer.decode(&ids);
            prop_assert_eq!(pieces.concat(), whole.clone());
            prop_assert_eq!(streamed(&tokenizer, &ids, &[], &[]).0, whole);
        }
    }

    #[test]
    fn the_crate_decodes_alike(ids in proptest::collection::vec(0u32..500, 0..40)) {
        let tokenizer = byte_level();
        let whole = tokenizer.decode_with_crate(&json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true }), &ids);
        prop_assert_eq!(tokenizer.decode(&ids), whole);
        let (tokenizer, decoder) = (sentencepiece(), sentencepiece_decoder());
        let whole = tokenizer.decode_with_crate(&decoder, &ids);
        // The crate marks every byte of a broken run, Tilestream each broken character.
        if !whole.contains('\u{fffd}') {
            prop_assert_eq!(tokenizer.decode(&ids), whole);
        }
    }

    #[test]
    fn texts_come_back(text in "\\PC{0,40}") {
        for tokenizer in [byte_level(), sentencepiece()] {
            let ids = tokenizer.encode(&text, false).unwrap();
            // Special tokens are not part of a text, and SentencePiece reads `▁` as a space.
            if !text.contains('<') && !text.contains('▁') {
                prop_assert_eq!(tokenizer.decode(&ids), text.clone());
            }
        }
    }

    #[test]
    fn stopping_does_not_depend_on_tokens(text in "[abc é日]{0,30}", stop in "[abc é日]{1,3}") {
        let expected = text.find(&stop).map_or(text.as_str(), |at| &text[..at]);
        for tokenizer in [byte_level(), sentencepiece()] {
            let ids = tokenizer.encode(&text, false).unwrap();
            let (out, reason) = streamed(&tokenizer, &ids, &[], &[&stop]);
            prop_assert_eq!(out, expected);
            prop_assert_eq!(reason.is_some(), text.contains(&stop));
        }
    }
}

fn sentencepiece_decoder() -> Value {
    json!({ "type": "Sequence", "decoders": [
        { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
    ]})
}
