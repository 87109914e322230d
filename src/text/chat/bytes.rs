//! Python's bytes: what `str.encode()` gives. They are written, counted, walked over, cut and decoded; all else is refused.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind, State};

use super::args::Args;
use super::items::{Items, Shape};
use super::sandbox::refused;

/// How characters become bytes.
enum Encoding {
    Utf8,
    /// A byte each, up to this character.
    Single(u32),
}

/// The encoding that is the next argument. Only errors stop it.
fn encoding(args: &mut Args) -> Result<Encoding, Error> {
    let (name, errors) = (args.text("encoding")?, args.text("errors")?);
    if errors.is_some_and(|errors| errors != "strict") {
        return Err(refused("an encoding takes no errors but 'strict'"));
    }
    match name.unwrap_or_else(|| "utf-8".to_owned()).to_ascii_lowercase().replace('_', "-").as_str() {
        "utf-8" | "utf8" => Ok(Encoding::Utf8),
        "ascii" | "us-ascii" => Ok(Encoding::Single(0x7f)),
        "latin-1" | "latin1" | "iso-8859-1" => Ok(Encoding::Single(0xff)),
        name => Err(refused(format!("the encoding {name:?} is not known: utf-8, ascii and latin-1 are"))),
    }
}

/// `text.encode(encoding='utf-8', errors='strict')`.
pub(super) fn encoded(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new(args.to_vec());
    let encoding = encoding(&mut args)?;
    args.end()?;
    // A value takes more than the byte that it is.
    state.consume_fuel(text.len() as u64 / 2)?;
    let value = |c: char| match encoding {
        Encoding::Single(last) if u32::from(c) <= last => Ok(Value::from(u32::from(c))),
        _ => Err(refused(format!("{c:?} is not in the encoding"))),
    };
    let values = match encoding {
        Encoding::Utf8 => text.bytes().map(Value::from).collect(),
        Encoding::Single(_) => text.chars().map(value).collect::<Result<_, Error>>()?,
    };
    Ok(Items::value(Shape::Bytes, values))
}

/// `bytes.name(*args)`.
pub(super) fn method(state: &State<'_, '_>, bytes: &[Value], name: &str, args: &[Value]) -> Result<Value, Error> {
    let mut args = Args::new(args.to_vec());
    state.consume_fuel(bytes.len() as u64 / 16)?;
    let text = match name {
        "decode" => match encoding(&mut args)? {
            Encoding::Utf8 => String::from_utf8(plain(bytes).collect()).ok(),
            Encoding::Single(last) => {
                let c = |byte: u8| Some(char::from(byte)).filter(|c| u32::from(*c) <= last);
                plain(bytes).map(c).collect()
            }
        },
        "hex" => Some(plain(bytes).map(|byte| format!("{byte:02x}")).collect()),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    args.end()?;
    text.map(Value::from).ok_or_else(|| refused("bytes are not of the encoding"))
}

fn plain(bytes: &[Value]) -> impl Iterator<Item = u8> {
    bytes.iter().filter_map(|byte| u8::try_from(byte.clone()).ok())
}

/// `repr(bytes)`.
pub(super) fn repr(bytes: &[Value]) -> String {
    let has = |c: u8| plain(bytes).any(|byte| byte == c);
    let quote = if has(b'\'') && !has(b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for byte in plain(bytes) {
        match char::from(byte) {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == '\\' || c == quote => out.extend(['\\', c]),
            c @ ' '..='~' => out.push(c),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
    out
}
