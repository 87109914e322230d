use super::*;

/// A field of bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(number < 16 && content.len() < 128, "one byte each");
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn piece_of(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
    bytes(1, &[bytes(1, text.as_bytes()), score, number(3, kind)].concat())
}

/// A model of three pieces, with more fields.
fn model(more: &[Vec<u8>]) -> Vec<u8> {
    let pieces = [piece_of("<unk>", 0.0, 2), piece_of("<s>", 0.0, 3), piece_of("▁a", -1.5, 1)];
    [pieces.concat(), more.concat()].concat()
}

#[test]
fn reads_what_changes_ids() {
    let trainer = [number(3, 2), vec![0x98, 0x02, 1]].concat();
    let normalizer = [bytes(1, b"identity"), bytes(2, &[1, 2]), number(3, 0), number(4, 0)].concat();
    let parsed = parse(&model(&[bytes(2, &trainer), bytes(3, &normalizer), bytes(5, b"")])).expect("parses");
    assert_eq!((parsed.algorithm, parsed.byte_fallback, parsed.unk, parsed.bos), (Algorithm::Bpe, true, 0, Some(1)));
    assert_eq!((parsed.add_dummy_prefix, parsed.remove_extra_whitespaces), (false, false));
    assert_eq!((parsed.charsmap.as_slice(), parsed.eos), (&[1, 2][..], None));
    assert_eq!(parsed.pieces[2], Piece { text: "▁a".to_owned(), score: -1.5, kind: PieceKind::Normal });
    let defaults = parse(&model(&[])).expect("parses");
    assert_eq!((defaults.algorithm, defaults.add_dummy_prefix), (Algorithm::Unigram, true));
    assert!(defaults.remove_extra_whitespaces && !defaults.byte_fallback && defaults.charsmap.is_empty());
}

#[test]
fn refuses_what_is_no_model() {
    use ErrorKind::{Malformed, Unsupported};
    let whole = model(&[]);
    let long_varint = [vec![3 << 3 | 2], vec![0xff; 11]].concat();
    let table: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("nothing", vec![], Malformed, "no unknown piece"),
        ("a text", b"version https://git-lfs.github.com/spec/v1".to_vec(), Malformed, "broken"),
        ("cut off", whole[..whole.len() - 1].to_vec(), Malformed, "ends too early"),
        ("a length past the end", vec![1 << 3 | 2, 5, 0], Malformed, "ends too early"),
        ("an endless number", long_varint, Malformed, "broken"),
        ("a group", vec![1 << 3 | 3], Malformed, "broken"),
        ("field 0", vec![0, 0], Malformed, "broken"),
        ("a piece that is a number", number(1, 7), Malformed, "not a message"),
        ("a spec that is a number", model(&[number(2, 7)]), Malformed, "not a message"),
        ("a text that is a number", model(&[bytes(1, &number(1, 7))]), Malformed, "wrong type"),
        ("a text that is not UTF-8", model(&[bytes(1, &bytes(1, &[0xff]))]), Malformed, "UTF-8"),
        ("a piece without a text", model(&[bytes(1, &[])]), Malformed, "no text"),
        ("a piece twice", model(&[piece_of("▁a", 0.0, 1)]), Malformed, "twice"),
        ("a score that is none", model(&[piece_of("b", f32::NAN, 1)]), Malformed, "score"),
        ("a type that is none", model(&[piece_of("b", 0.0, 7)]), Malformed, "type 7"),
        ("two unknown pieces", model(&[piece_of("b", 0.0, 2)]), Malformed, "two unknown"),
        ("no unknown piece", piece_of("b", 0.0, 1), Malformed, "no unknown"),
        ("words", model(&[bytes(2, &number(3, 3))]), Unsupported, "model_type 3"),
        ("spaces behind", model(&[bytes(2, &[0xc0, 0x01, 1])]), Unsupported, "treat_whitespace_as_suffix"),
        ("plain spaces", model(&[bytes(3, &number(5, 0))]), Unsupported, "escape_whitespaces"),
        ("a flag that is a text", model(&[bytes(3, &bytes(3, b""))]), Malformed, "normalizer_spec"),
        ("a type that is a text", model(&[bytes(2, &bytes(3, b""))]), Malformed, "trainer_spec"),
    ];
    for (what, bytes, kind, says) in table {
        let error = parse(&bytes).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
}

#[test]
fn every_beginning_of_a_model_is_read_or_refused() {
    let whole = model(&[bytes(2, &number(3, 2)), bytes(3, &bytes(2, &[9; 40]))]);
    let accepted = (0..=whole.len()).filter(|len| parse(&whole[..*len]).is_ok()).count();
    // Between two fields, where the unknown piece is there.
    assert_eq!(accepted, 5);
}
