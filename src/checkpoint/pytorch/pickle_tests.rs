use super::super::parse_pickle;
use super::super::testing::{dict, int, pickle, storage, tensor, text, tuple};
use super::*;

fn floats(count: i32) -> Vec<u8> {
    storage("FloatStorage", "0", count)
}

fn vector() -> Vec<u8> {
    tensor(&floats(4), 0, &[4], &[1])
}

fn names(value: &[u8]) -> Result<Vec<String>> {
    Ok(parse_pickle(&pickle(value))?.iter().map(|view| view.name.to_owned()).collect())
}

fn refuse(name: &str, value: &[u8], kind: ErrorKind, says: &str) {
    let error = parse_pickle(&pickle(value)).expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert!(error.to_string().contains(says), "{name}: {error}");
}

#[test]
fn a_state_dict_may_be_wrapped_once() -> Result<()> {
    let state = dict(&[("w", vector())]);
    assert_eq!(names(&state)?, ["w"]);
    for wrapper in ["model", "state_dict"] {
        let others = [("epoch", int(3)), ("optimizer", dict(&[("w", vector())])), (wrapper, state.clone())];
        assert_eq!(names(&dict(&others))?, ["w"]);
    }
    // Attributes of a state dict are passed over, and so are plain values in it.
    let ordered = [b"ccollections\nOrderedDict\n)R(", &text("w")[..], &vector(), b"u}b"].concat();
    assert_eq!(names(&ordered)?, ["w"]);
    let values = dict(&[("a", b"N".to_vec()), ("w", vector()), ("b", b"G12345678".to_vec()), ("c", b"\x88".to_vec())]);
    assert_eq!(names(&values)?, ["w"]);
    for (name, value) in [
        ("nothing", b"}".to_vec()),
        ("numbers", dict(&[("a", int(1))])),
        ("two wrappers", dict(&[("model", state.clone()), ("state_dict", state.clone())])),
        ("another wrapper", dict(&[("net", state.clone())])),
        ("wrapped twice", dict(&[("model", dict(&[("model", state.clone())]))])),
        ("a list", [b"](", &vector()[..], b"e"].concat()),
        ("a tensor", vector()),
    ] {
        refuse(name, &value, ErrorKind::Unsupported, "safetensors");
    }
    refuse("a dict inside", &dict(&[("w", vector()), ("d", state)]), ErrorKind::Unsupported, "tensor 'd': is a dict");
    let numbered = [b"}", &int(1)[..], &vector(), b"s"].concat();
    refuse("a number as a name", &numbered, ErrorKind::Malformed, "named by a number");
    refuse("twice", &dict(&[("w", vector()), ("w", vector())]), ErrorKind::Malformed, "tensor 'w': comes twice");
    Ok(())
}

#[test]
fn nothing_else_can_be_named() {
    let system = [b"cos\nsystem\n", &tuple(&[text("true")])[..], b"R"].concat();
    let newer = [&text("os")[..], &text("system"), b"\x93"].concat();
    for (name, value, says) in [
        ("a call", system, "'os.system'"),
        ("a newer spelling", newer, "'os.system'"),
        ("a builtin", b"cbuiltins\neval\n".to_vec(), "'builtins.eval'"),
        ("torch's own", b"ctorch\nload\n".to_vec(), "'torch.load'"),
        ("another module's", b"ctorch.evil\nFloatStorage\n".to_vec(), "'torch.evil.FloatStorage'"),
        ("an odd storage", b"ctorch\nEvilStorage\n".to_vec(), "'torch.EvilStorage'"),
        ("a dotted name", b"ccollections\nOrderedDict.fromkeys\n".to_vec(), "'collections.OrderedDict.fromkeys'"),
    ] {
        refuse(name, &value, ErrorKind::Unsupported, says);
        refuse(name, &value, ErrorKind::Unsupported, "nothing of a checkpoint is executed");
    }
    // Opcodes that call in other ways, or that torch.save has no use for.
    for opcode in [b'i', b'o', 0x81, 0x92, b'P', 0x82, b'I', b'S', b'2', 0x90, 0x98, 0, 0xff] {
        refuse("an opcode", &[b'(', opcode, b'\n', b'\n'], ErrorKind::Unsupported, &format!("{opcode:#04x}"));
    }
    let long = format!("c{}\nx\n", "m".repeat(100_000));
    let error = parse_pickle(&pickle(long.as_bytes())).expect_err("long");
    assert!(error.to_string().len() < 1000, "a name is cut in messages");
}

#[test]
fn broken_pickles_are_refused() {
    let cases: [(&str, &[u8], &str); 16] = [
        ("an empty stack", b"0", "0x30"),
        ("nothing to stop with", b"", "empty stack"),
        ("two values", b"NN", "leaves values behind"),
        ("a mark left", b"(N", "leaves values behind"),
        ("no mark", b"t", "has no mark"),
        ("below a mark", b"N(\x85", "empty stack"),
        ("an unknown memory", b"h\x07", "never remembered"),
        ("nothing to remember", b"q\x07", "empty stack"),
        ("an item of a tuple", b")NNs", "no dict"),
        ("items of a list", b"](NNu", "no dict"),
        ("an odd item", b"}(Nu", "without a value"),
        ("appended to a dict", b"}Na", "no list"),
        ("attributes of a tuple", b")}b", "no dict"),
        ("a call of a dict", b"})R", "no function"),
        ("a dict of something", b"ccollections\nOrderedDict\n(NtR", "arguments"),
        ("not UTF-8", b"X\x01\0\0\0\xff", "UTF-8"),
    ];
    for (name, value, says) in cases {
        let error = parse_pickle(&pickle(value)).expect_err(name);
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
    for (bytes, kind) in [
        (&b"\x80\x01N."[..], ErrorKind::Unsupported),
        (b"\x80\x06N.", ErrorKind::Unsupported),
        (b"\x80\x02}.N", ErrorKind::Malformed),
        (b"", ErrorKind::Truncated),
        (b"X\xff\xff\xff\xffabc", ErrorKind::Truncated),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", ErrorKind::Truncated),
    ] {
        assert_eq!(parse_pickle(bytes).expect_err("broken").kind(), kind, "{bytes:?}");
    }
}

#[test]
fn tensors_are_checked_against_their_storage() {
    let one = |value: Vec<u8>| dict(&[("w", value)]);
    let no_storage = tensor(b"N", 0, &[4], &[1]);
    let odd_storage = tensor(&[&tuple(&[text("module"), int(1)])[..], b"Q"].concat(), 0, &[4], &[1]);
    let other_class = [&tuple(&[text("storage"), text("float"), text("0"), text("cpu"), int(1)])[..], b"Q"].concat();
    let negated = {
        let call = b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec();
        let metadata = dict(&[("neg", b"\x88".to_vec())]);
        let arguments = [floats(4), int(0), tuple(&[int(4)]), tuple(&[int(1)]), vec![0x89], b"N".to_vec(), metadata];
        [call, tuple(&arguments), b"R".to_vec()].concat()
    };
    let many = [1; 9];
    for (name, value, kind, says) in [
        ("transposed", tensor(&floats(6), 0, &[2, 3], &[1, 2]), ErrorKind::Unsupported, ".contiguous()"),
        ("every other", tensor(&floats(8), 0, &[4], &[2]), ErrorKind::Unsupported, "strides [2]"),
        ("repeated", tensor(&floats(4), 0, &[2, 4], &[0, 1]), ErrorKind::Malformed, "32 bytes at 0"),
        ("repeated inside", tensor(&floats(8), 0, &[2, 4], &[0, 1]), ErrorKind::Unsupported, "row order"),
        ("past the end", tensor(&floats(4), 1, &[4], &[1]), ErrorKind::Malformed, "16 bytes at 4"),
        ("before the start", tensor(&floats(4), -1, &[4], &[1]), ErrorKind::Malformed, "offset"),
        ("a negative axis", tensor(&floats(4), 0, &[-4], &[1]), ErrorKind::Malformed, "shape"),
        ("too large", tensor(&floats(4), 0, &[i32::MAX; 3], &[1; 3]), ErrorKind::Malformed, "too large"),
        ("axes without strides", tensor(&floats(4), 0, &[4, 1], &[1]), ErrorKind::Malformed, "strides [1]"),
        ("too many axes", tensor(&floats(4), 0, &many, &many), ErrorKind::Malformed, "up to 8"),
        ("no storage", no_storage, ErrorKind::Malformed, "no view"),
        ("an odd storage", odd_storage, ErrorKind::Malformed, "no storage"),
        ("a storage of text", tensor(&other_class, 0, &[1], &[1]), ErrorKind::Malformed, "no storage"),
        ("a negated view", negated, ErrorKind::Malformed, "negated"),
    ] {
        refuse(name, &one(value), kind, says);
    }
}

#[test]
fn dtypes_have_their_sizes() -> Result<()> {
    for (class, bytes) in [
        ("FloatStorage", 4),
        ("HalfStorage", 2),
        ("BFloat16Storage", 2),
        ("DoubleStorage", 8),
        ("LongStorage", 8),
        ("IntStorage", 4),
        ("ShortStorage", 2),
        ("CharStorage", 1),
        ("ByteStorage", 1),
        ("BoolStorage", 1),
        ("UntypedStorage", 1),
        ("ComplexFloatStorage", 8),
    ] {
        let value = pickle(&dict(&[("w", tensor(&storage(class, "k", 9), 3, &[5], &[1]))]));
        let views = parse_pickle(&value)?;
        assert_eq!((views[0].offset_bytes, views[0].len_bytes, views[0].key), (3 * bytes, 5 * bytes, "k"), "{class}");
    }
    // The newest dtypes come as bytes with a dtype of their own.
    let call = b"ctorch._utils\n_rebuild_tensor_v3\n".to_vec();
    let numbers = [tuple(&[int(3)]), tuple(&[int(1)])].concat();
    let dtype = b"ctorch\nfloat8_e4m3fn\n".to_vec();
    let arguments = [storage("UntypedStorage", "0", 4), int(1), numbers, vec![0x89], b"N".to_vec(), dtype];
    let value = pickle(&dict(&[("w", [call, tuple(&arguments), b"R".to_vec()].concat())]));
    let view = parse_pickle(&value)?.remove(0);
    assert_eq!((view.dtype, view.offset_bytes, view.len_bytes), (safetensors::Dtype::F8_E4M3, 1, 3));
    Ok(())
}

#[test]
fn hostile_pickles_cost_no_more_than_their_length() {
    // Each tuple holds the one before it twice: two to the 100,000th leaves, were they ever counted.
    let doubled = [&b")"[..], &b"q\0h\0\x86".repeat(100_000)].concat();
    // A chain of a million, which a recursive drop would not survive.
    let deep = [&b")"[..], &b"\x85".repeat(1_000_000)].concat();
    // A dict that holds itself.
    let own = [&b"}q\0"[..], &text("model"), b"h\0s"].concat();
    for value in [doubled, deep, own] {
        assert_eq!(parse_pickle(&pickle(&value)).expect_err("no state dict").kind(), ErrorKind::Unsupported);
    }
    for endless in [b"N", b"(", b"}"] {
        refuse("steps", &endless.repeat(STEPS_CAP), ErrorKind::Malformed, "steps");
    }
    // One long name or key for many tensors is not copied for each.
    let key = "k".repeat(300);
    refuse(
        "a long key",
        &dict(&[("w", tensor(&storage("ByteStorage", &key, 1), 0, &[1], &[1]))]),
        ErrorKind::Malformed,
        "",
    );
}
