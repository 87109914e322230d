use serde_json::{Value, json};

use super::super::{Vocabulary, parse};
use super::*;

/// All bytes, and lines behind them.
fn tiktoken(more: &str) -> String {
    let bytes: String = (0..=u8::MAX).map(|byte| format!("{} {byte}\n", STANDARD.encode([byte]))).collect();
    bytes + more
}

#[test]
fn reads_ranks() {
    let text = tiktoken("YWI= 256\r\n\n4pY= 300");
    assert!(is_tiktoken(text.as_bytes()));
    let ranks = parse_tiktoken(text.as_bytes()).expect("parses");
    assert_eq!(ranks.tokens.len(), 258);
    assert_eq!(ranks.tokens[256..], [(b"ab".to_vec(), 256), (vec![0xe2, 0x96], 300)]);
}

#[test]
fn refuses_broken_ranks() {
    for (more, says) in [
        ("YWI=", "line 257"),
        ("YWI= x", "line 257"),
        ("YWI= -1", "line 257"),
        ("YWI= 16777216", "line 257"),
        ("YWI 256", "line 257"),
        ("?? 256", "line 257"),
        (" 256", "line 257"),
        ("YWI= 256 1", "line 257"),
        ("YWI= 255", "twice"),
        ("YQ== 256", "twice"),
        ("YWI= 256\nYWI= 257", "twice"),
    ] {
        let error = parse_tiktoken(tiktoken(more).as_bytes()).expect_err(more);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains(says), "{more}: {error}");
    }
    assert!(parse_tiktoken(b"YQ== 0\n").expect_err("one byte").to_string().contains("byte 0"));
    for text in ["", "YQ==", "YQ== 0 0", "{}", "version https://git-lfs"] {
        assert!(!is_tiktoken(text.as_bytes()), "{text}");
    }
}

fn tekken(change: impl Fn(&mut Value)) -> Vec<u8> {
    let token = |byte: u8| json!({ "rank": byte, "token_bytes": STANDARD.encode([byte]), "token_str": null });
    let mut file = json!({
        "config": { "pattern": "a", "default_vocab_size": 266, "default_num_special_tokens": 10 },
        "vocab": (0..=u8::MAX).map(token).collect::<Vec<_>>(),
        "special_tokens": [{ "rank": 1, "token_str": "<s>" }],
    });
    file["vocab"].as_array_mut().expect("a list").push(json!({ "rank": 256, "token_bytes": "YWI=" }));
    change(&mut file);
    file.to_string().into_bytes()
}

#[test]
fn reads_tekken() {
    let Ok(Vocabulary::Tekken(file)) = parse(&tekken(|_| {})) else { panic!("is tekken") };
    // Tokens past the size of the vocabulary are not the model's.
    assert_eq!((file.ranks.tokens.len(), file.pattern.as_str()), (256, "a"));
    assert_eq!(file.specials[..3], ["<SPECIAL_0>", "<s>", "<SPECIAL_2>"]);
    assert_eq!(file.specials.len(), 10);
    let old = |file: &mut Value| {
        file["special_tokens"] = Value::Null;
        file["config"]["default_num_special_tokens"] = json!(20);
        file["config"]["default_vocab_size"] = json!(276);
    };
    let old = parse_tekken(&tekken(old)).expect("parses");
    assert_eq!((old.specials[0].as_str(), old.specials[19].as_str()), ("<unk>", "[TOOL_CONTENT]"));
}

#[test]
fn refuses_broken_tekken() {
    type Change = fn(&mut Value);
    let table: &[(Change, &str)] = &[
        (|file| file["config"] = Value::Null, "JSON"),
        (|file| file["vocab"][3]["token_bytes"] = json!("?"), "rank 3"),
        (|file| file["vocab"][3]["rank"] = json!(4), "twice"),
        (|file| file["config"]["default_vocab_size"] = json!(9), "not possible"),
        (|file| file["config"]["default_vocab_size"] = json!(1 << 24), "not possible"),
        (|file| file["config"]["default_num_special_tokens"] = json!(11), "byte 255"),
        (|file| file["special_tokens"][0]["rank"] = json!(10), "rank 10"),
    ];
    for (change, says) in table {
        let error = parse_tekken(&tekken(change)).expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn reads_merges() {
    let read = parse_merges(
        br#"{"a":0,"b":1,"ab":2,"#.iter().chain(br##""#":3}"##).copied().collect::<Vec<_>>().as_slice(),
        b"#version: 0.2\r\na b\n# a\n\n",
    );
    let read = read.expect("parses");
    assert_eq!(read.vocab["ab"], 2);
    assert_eq!(read.merges, [("a".into(), "b".into()), ("#".into(), "a".into())]);
    let table: &[(&[u8], &[u8], &str)] = &[
        (b"[]", b"", "JSON"),
        (br#"{"a":0,"a":1}"#, b"", "twice"),
        (br#"{"a":0,"b":0}"#, b"", "twice"),
        (br#"{"a":16777216}"#, b"", "not below"),
        (br#"{"a":-1}"#, b"", "JSON"),
        (b"{}", b"a", "line 1"),
        (b"{}", b"a b\n c", "line 2"),
        (b"{}", b"a \xff", "UTF-8"),
    ];
    for (vocab, merges, says) in table {
        let error = parse_merges(vocab, merges).expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}
