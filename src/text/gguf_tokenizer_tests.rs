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
        ("deepseek-llm", "日本 été, 123\nx ", &["日本", " é", "t", "é", ",", " ", "123", "\n", "x", " "]),
        ("deepseek-coder", "f(x) = 12\n日本", &["f", "(", "x", ")", " = ", "1", "2", "\n", "日本"]),
        ("falcon3", "I'LL pay 12345", &["I", "'LL", " pay", " ", "123", "45"]),
        ("falcon", "x++ 12345 it's", &["x", "++", " ", "123", "45", " it", "'", "s"]),
        ("spark2_5", "x\n\n12 y", &["x", "\n", "\n", "1", "2", " y"]),
        ("afmoe", "1234567 x.y", &["1", "234", "567", " x", ".y"]),
        ("superbpe", "1234567 x y", &["1", "234", "567", " x y"]),
        ("tiny_aya", "1234567 aB", &["1", "234", "567", " a", "B"]),
        ("youtu", "日本12가 ok", &["日本", "1", "2", "가", " ok"]),
        ("bloom", "so, it (is) 12!", &["so", ",", " it", " (", "is", ")", " 12", "!"]),
        ("viking", "it is12", &["it", " is", "1", "2"]),
        ("chameleon", "a  b12.", &["a", "  ", "b", "1", "2", "."]),
        ("jais-2", "a   12345", &["a", "  ", " ", "123", "45"]),
        ("qwen35", "e\u{301}a 12", &["e\u{301}a", " ", "1", "2"]),
        ("bailingmoe", "it's 12\n\nx", &["it", "'s", " ", "1", "2", "\n\n", "x"]),
        ("seed-coder", "x;\ny 12", &["x", ";", "\n", "y", " ", "1", "2"]),
        ("ufakzeka", "Ali'den 12", &["Ali", "'den", " ", "1", "2"]),
        ("exaone-moe", "so it is 12", &["so it is", " ", "1", "2"]),
        ("minicpm5", "pay 12345", &["pay", " ", "123", "45"]),
        ("laguna", "a \n\n b", &["a", " ", "\n\n", " b"]),
        ("gemma4", "one two\n\nthree", &["one two", "\n\n", "three"]),
        ("minimax-m2", "camelCase's 1234", &["camel", "Case's", " ", "123", "4"]),
        ("exaone4", "pay 1234", &["pay", " 1234"]),
        ("mellum2", "pay 12", &["pay", " ", "1", "2"]),
        ("hunyuan", "pay 12", &["pay", " ", "1", "2"]),
        ("hunyuan-dense", "日本12345", &["日本", "123", "45"]),
    ];
    for (pre, text, expected) in table {
        assert_eq!(cut(pre, text), *expected, "{pre}");
    }
}

#[test]
fn every_row_of_the_table_loads() {
    let (_, fields, _) = golden("byte_level");
    for (name, row) in pre_tokenizers::all().filter(|(_, row)| !row.plain) {
        let fields = GgufTokenizer { pre: Some(name.into()), ..fields.clone() };
        let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).expect(name)).unwrap();
        let ids = tokenizer.encode("The rivér 12", true).unwrap();
        assert_eq!(tokenizer.decode(&ids), "The rivér 12", "{name}");
        assert_eq!(ids[0] == fields.bos.unwrap(), row.add_bos, "{name}");
    }
    let names: Vec<_> = pre_tokenizers::all().map(|(name, _)| name).collect();
    assert_eq!(names.len(), names.iter().collect::<std::collections::BTreeSet<_>>().len(), "a name stands twice");
}

/// Every name that llama.cpp has a rule of its own for, but for the one of a model that only embeds ("whitespace").
#[test]
fn every_name_of_llama_cpp_is_known() {
    let names = "minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano deepseek-llm \
                 deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es \
                 jina-v2-de a.x-4.0 mellum modern-bert jais-2 gemma4 granite-embed-multi-311m sarvam-moe jina-v1-en \
                 jina-v2-code roberta-bpe refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx \
                 smaug-bpe poro-chat glm4 glm5 chatglm-bpe viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 \
                 exaone-moe chameleon minerva-7b megrez gpt-4o llama4 kanana2 talkie granite-embed-multi-97m tiny_aya \
                 cohere2moe superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe seed-coder hunyuan \
                 hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 solar-open mellum2 default";
    let unknown: Vec<&str> = names.split_whitespace().filter(|name| pre_tokenizers::find(name).is_none()).collect();
    assert_eq!(unknown, [""; 0]);
}

/// Merges are those of the file, spaces are `▁`, and what no token has is bytes.
#[test]
fn gemma4_merges_characters() {
    let tokens = ["<bos>", "▁", "a", "b", "▁a", "▁ab", "\n", "\n\n", "<0xC3>", "<0xA9>", "<|turn>"].map(str::to_owned);
    let fields = GgufTokenizer {
        model: "gemma4".into(),
        token_types: vec![3, 1, 1, 1, 1, 1, 1, 1, 6, 6, 3],
        tokens: tokens.to_vec(),
        merges: ["▁ a", "▁a b", "\n \n"].map(str::to_owned).to_vec(),
        bos: Some(0),
        add_bos: Some(true),
        ..GgufTokenizer::default()
    };
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json(&fields).unwrap()).unwrap();
    assert_eq!(tokenizer.encode("<|turn>a ab\n\né", true).unwrap(), [0, 10, 2, 5, 7, 8, 9]);
    assert_eq!(tokenizer.decode(&[2, 5, 7, 8, 9]), "a ab\n\né");
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
        (|f| f.pre = Some("camel".into()), ErrorKind::Unsupported, "'camel' is not known; use the checkpoint"),
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
