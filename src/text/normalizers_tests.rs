use proptest::prelude::*;
use serde_json::json;
use tokenizers::Normalizer as _;

use super::*;
use crate::checkpoint::tokenizer_files::sentencepiece;

/// The map of a small model: its rules stand in `tools/golden/make_tokenizers.py`.
fn map() -> Vec<u8> {
    let model = std::fs::read("tests/data/tokenizers/mapped.model").expect("reads");
    sentencepiece::parse(&model).expect("parses").charsmap
}

fn normalizer(value: Value) -> Normalizer {
    serde_json::from_value(value).expect("is one")
}

fn precompiled(map: &[u8]) -> Value {
    json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(map) })
}

fn normalized(normalizer: &Normalizer, text: &str) -> String {
    let mut text = NormalizedString::from(text);
    normalizer.normalize(&mut text).expect("normalizes");
    text.get().to_owned()
}

#[test]
fn the_longest_entry_counts_wherever_it_begins() {
    let normalizer = normalizer(precompiled(&map()));
    let table = [
        ("", ""),
        ("plain", "plain"),
        ("e\u{301}x", "éx"),
        // The crate's own drops the mark, and does not put Hangul together.
        ("ｂ\u{301}", "b\u{301}"),
        ("a\u{308}\u{304}", "ǟ"),
        ("\u{1100}\u{1161}\u{11a8}", "각"),
        ("\u{1100}\u{1161}x", "가x"),
        ("㎏ ½ ™", "kg 1⁄2 TM"),
        ("\u{7f}\u{1}a\u{7f}", "a"),
        ("\u{7f}", ""),
        ("\u{200b}\u{a0}", "  "),
        ("ﬁ\0ﬁ", "fi\0fi"),
    ];
    for (text, expected) in table {
        assert_eq!(normalized(&normalizer, text), expected, "{text:?}");
    }
}

#[test]
fn parts_act_in_order() {
    let upper = json!({ "type": "Replace", "pattern": { "String": "é" }, "content": "E" });
    let parts = json!([precompiled(&map()), { "type": "Sequence", "normalizers": [upper] }]);
    let normalizer = normalizer(json!({ "type": "Sequence", "normalizers": parts }));
    assert_eq!(normalized(&normalizer, "e\u{301}"), "E");
}

#[test]
fn what_an_earlier_step_put_in_front_is_part_of_the_text() {
    let replace = |from: Value, to: &str| json!({ "type": "Replace", "pattern": from, "content": to });
    let spaces = replace(json!({ "String": " " }), "▁");
    for front in [json!({ "type": "Prepend", "prepend": "▁" }), replace(json!({ "Regex": r"\A" }), "▁")] {
        for (then, expected) in [
            (None, "▁a▁▁b"),
            (Some(replace(json!({ "String": "▁a" }), "x")), "x▁▁b"),
            (Some(replace(json!({ "String": "▁" }), "")), "a▁▁b"),
            (Some(precompiled(&map())), "▁a▁▁b"),
        ] {
            let steps: Vec<Value> = [Some(front.clone()), then, Some(spaces.clone())].into_iter().flatten().collect();
            let normalizer = normalizer(json!({ "type": "Sequence", "normalizers": steps }));
            assert_eq!(normalized(&normalizer, "a  b"), expected, "{normalizer:?}");
        }
    }
}

#[test]
fn refuses_broken_maps() {
    let broken: &[&[u8]] =
        &[&[], &[0, 0, 0], &[0; 4], &[3, 0, 0, 0, 1, 2, 3], &[8, 0, 0, 0, 1], &[4, 0, 0, 0, 0, 0, 0, 0, 0xff]];
    for map in broken {
        assert!(serde_json::from_value::<Normalizer>(precompiled(map)).is_err(), "{map:?}");
    }
    for value in
        [json!({ "type": "Precompiled" }), json!({ "type": "Precompiled", "precompiled_charsmap": "?" }), json!(3)]
    {
        assert!(serde_json::from_value::<Normalizer>(value.clone()).is_err(), "{value}");
    }
}

proptest! {
    #[test]
    fn a_wrong_map_leads_nowhere(at in 4..4096_usize, byte: u8, text in "[a-e\u{301}-\u{308}ﬁ½Ａ-ｚ\u{1100}-\u{11ff}]{0,20}") {
        let mut map = map();
        let at = at % map.len();
        map[at] = byte;
        if let Ok(normalizer) = serde_json::from_value::<Normalizer>(precompiled(&map)) {
            normalized(&normalizer, &text);
        }
    }
}
