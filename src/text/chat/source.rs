//! What minijinja reads otherwise than Jinja does, put into words that both read alike.

use minijinja::Error;

use super::expression::Translator;
use super::macros::{Extra, extras};
use super::sandbox::refused;
use super::tokens::{Kind, is_constant, tokens};

/// Published templates are ten times shorter.
const LONGEST_BYTES: usize = 256 << 10;
/// Tokens between `{{` and `}}`. The parser and the compiler need stack for each operator of an expression.
pub(super) const MOST_TOKENS: usize = 1000;
/// `elif` nests in the parser.
const MOST_ELIFS: usize = 100;

/// The template as minijinja takes it:
/// - operators become filters (see [`super::expression`]), and what is kept goes through one that measures it;
/// - `generation` blocks, which transformers adds to Jinja, only mark text for training. They become `with` blocks, whose
///   variables end with them too;
/// - the default of a macro's argument becomes a `set` at its beginning, where it may name the arguments before it;
/// - a macro that takes more arguments than it names, names them (see [`super::macros`]);
/// - a line end is `\n`, and the one behind `{% raw %}` stays.
///
/// # Errors
/// Where an expression is none, or longer or more involved than the parser can take: an operator or an `elif` needs stack.
pub(super) fn translated(source: &str) -> Result<String, Error> {
    if source.len() > LONGEST_BYTES {
        return Err(refused(format!("the template has {} bytes", source.len())));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = String::with_capacity(source.len() * 2);
    let mut rest = source.as_str();
    let mut known =
        Known { marked: macros_with_defaults(&source), extras: extras(&source), open: Vec::new(), elifs: 0 };
    while let Some(at) = next_tag(rest) {
        let (before, tag) = rest.split_at(at);
        result.push_str(before);
        if tag.starts_with("{#") {
            rest = tag.find("#}").map_or("", |end| &tag[end + 2..]);
            result.push_str(&tag[..tag.len() - rest.len()]);
            continue;
        }
        let at = source.len() - tag.len();
        let behind = push_tag(&mut result, tag, at, &mut known).map_err(|error| {
            let line = source[..at].matches('\n').count() + 1;
            refused(format!("{} in line {line}", error.detail().unwrap_or_default()))
        })?;
        rest = behind;
    }
    result.push_str(rest);
    Ok(result)
}

/// What is known of the template beyond a tag.
struct Known {
    /// The names of macros whose arguments may be left out.
    marked: Vec<String>,
    /// What macros take beside their arguments, by the places of their tags.
    extras: Vec<(usize, Extra)>,
    /// Macros that have not ended.
    open: Vec<(String, Extra)>,
    elifs: usize,
}

impl Known {
    fn extra(&self, at: usize) -> Extra {
        self.extras.iter().find(|(place, _)| *place == at).map(|(_, extra)| *extra).unwrap_or_default()
    }
}

/// Where the next tag begins.
pub(super) fn next_tag(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'%' | b'{' | b'#')))
}

/// The names of macros whose arguments may be left out.
fn macros_with_defaults(source: &str) -> Vec<String> {
    let (mut rest, mut found) = (source, Vec::new());
    while let Some(at) = next_tag(rest) {
        let tag = &rest[at..];
        rest = &tag[2..];
        if let Ok((tokens, _)) = tokens(tag, MOST_TOKENS)
            && tag.starts_with("{%")
            && tokens[0].text == "macro"
            && tokens.iter().any(|token| token.text == "=")
        {
            found.push(tokens[1].text.to_owned());
        }
    }
    found
}

/// Writes the tag at a place, and what belongs to it; gives what is behind.
fn push_tag<'a>(out: &mut String, source: &'a str, at: usize, known: &mut Known) -> Result<&'a str, Error> {
    let (tokens, len) = tokens(source, MOST_TOKENS)?;
    let (tag, behind) = source.split_at(len);
    let is_block = tag.starts_with("{%");
    let name = if is_block && tokens[0].kind == Kind::Name { tokens[0].text } else { "" };
    if name == "raw" {
        out.push_str(tag);
        if behind.starts_with('\n') && !tag.ends_with("-%}") {
            out.push('\n');
        }
        let rest = behind_raw(behind);
        out.push_str(&behind[..behind.len() - rest.len()]);
        return Ok(rest);
    }
    known.elifs += usize::from(name == "elif");
    if known.elifs > MOST_ELIFS {
        return Err(refused("the template is too involved"));
    }
    // The sign of the tag stays with it.
    out.push_str(if matches!(tag.as_bytes().get(2), Some(b'-' | b'+')) { &tag[..3] } else { &tag[..2] });
    let is_constant = !is_block && is_constant(&tokens);
    let macro_name = tokens.get(1).map_or("", |token| token.text);
    let mut translator = Translator::new(tokens, &known.marked);
    translator.is_constant = is_constant;
    translator.out.push(' ');
    let mut sets = Vec::new();
    let extra = known.extra(at);
    if is_block {
        statement(&mut translator, name, extra, &mut sets)?;
    } else {
        translator.tuple(true, "")?;
    }
    if !translator.at_end() {
        return Err(translator.unexpected("the end of the tag"));
    }
    translator.out.push(' ');
    let end = translator.skip();
    out.push_str(&translator.out);
    match name {
        "macro" => known.open.push((macro_name.to_owned(), extra)),
        "endmacro" => {
            let taking = known.open.pop().filter(|(_, extra)| extra.names().next().is_some());
            sets.extend(taking.map(|(name, Extra { varargs, kwargs })| {
                format!("set {name} = {name}|_variadic({varargs}, {kwargs}) ")
            }));
        }
        _ => {}
    }
    for set in sets {
        out.extend(["%}{% ", &set]);
    }
    out.push_str(end.text);
    Ok(behind)
}

pub(super) fn behind_raw(text: &str) -> &str {
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let tag = &rest[at..];
        if let Ok((tokens, len)) = tokens(tag, MOST_TOKENS)
            && tokens[0].text == "endraw"
        {
            return &tag[len..];
        }
        rest = &tag[2..];
    }
    ""
}

/// Writes what a `{%` tag says. What its macro must begin with goes to `first`. `extra`: what the macro takes beside its arguments.
fn statement(tag: &mut Translator<'_>, name: &str, extra: Extra, first: &mut Vec<String>) -> Result<(), Error> {
    match name {
        "generation" | "endgeneration" => {
            tag.skip();
            tag.out.push_str(if name == "generation" { "with" } else { "endwith" });
            return Ok(());
        }
        // The compiler panics at some imports, and there is nothing to import.
        "import" | "from" | "include" | "extends" => return Err(refused("there are no other templates")),
        "do" | "print" | "" => return Err(refused("a statement is not known")),
        _ => {}
    }
    tag.copy();
    match name {
        "for" => {
            targets(tag, "in")?;
            tag.copy();
            tag.out.push(' ');
            tag.tuple(false, "_each")?;
            if tag.copy_if("if") {
                tag.out.push(' ');
                tag.condition()?;
            }
            tag.copy_if("recursive");
            Ok(())
        }
        "if" | "elif" => {
            tag.out.push(' ');
            tag.tuple(false, "")
        }
        "set" => {
            targets(tag, "=")?;
            if tag.copy_if("=") {
                tag.out.push(' ');
                return tag.tuple(true, "_kept");
            }
            filters(tag)
        }
        "with" => {
            // All values are those from before it.
            let mut values = String::new();
            tag.out.push_str(if tag.at_end() { "" } else { " (" });
            while !tag.at_end() {
                tag.out.push('(');
                targets(tag, "=")?;
                tag.out.push(')');
                if !tag.is("=") {
                    return Err(tag.unexpected("="));
                }
                tag.skip();
                let at = tag.out.len();
                tag.kept()?;
                values.extend(["(", &tag.out.split_off(at), "), "]);
                if !tag.copy_if(",") {
                    break;
                }
            }
            if !values.is_empty() {
                tag.out.extend([",) = (", &values, ")"]);
            }
            Ok(())
        }
        "macro" => {
            let name = tag.name()?.text;
            let is_marked = tag.is_marked(name);
            parameters(tag, is_marked, extra, first)
        }
        "call" => {
            if let Some(name) = extra.names().next() {
                return Err(refused(format!("a call block has no {name}: name its arguments")));
            }
            if tag.is("(") {
                parameters(tag, false, extra, first)?;
            }
            tag.out.push(' ');
            tag.condition().map(|_| ())
        }
        "filter" => {
            tag.out.push(' ');
            tag.filter()?;
            filters(tag)
        }
        "autoescape" => {
            tag.out.push(' ');
            tag.condition().map(|_| ())
        }
        // The others have names behind them at most.
        _ => {
            while !tag.at_end() {
                tag.name()?;
            }
            Ok(())
        }
    }
}

/// Copies the names that are set, up to a sign or word.
fn targets(tag: &mut Translator<'_>, end: &str) -> Result<(), Error> {
    while !tag.at_end() && !tag.is(end) && !tag.is("|") {
        let is_field = tag.copy_if(".");
        if is_field && tag.peek().text.starts_with('_') {
            return Err(refused("a field of a namespace does not begin with _"));
        }
        if !["(", ")", ","].iter().any(|sign| tag.copy_if(sign)) {
            tag.name()?;
        }
    }
    Ok(())
}

/// `|filter(…)` any number of times.
fn filters(tag: &mut Translator<'_>) -> Result<(), Error> {
    while tag.copy_if("|") {
        tag.filter()?;
    }
    Ok(())
}

/// The parameters of a macro. minijinja looks at a default before it knows the arguments, and takes it for an argument that is undefined:
/// so the macro begins with setting them, and `_pass` marks what is undefined where the macro is called.
fn parameters(tag: &mut Translator<'_>, is_marked: bool, extra: Extra, first: &mut Vec<String>) -> Result<(), Error> {
    tag.expect("(")?;
    let mut has_default = false;
    while !tag.is(")") {
        let name = tag.name()?.text;
        let given = if is_marked { format!("{name}|_take") } else { name.to_owned() };
        if tag.is("=") {
            tag.skip();
            let at = tag.out.len();
            tag.kept()?;
            let default = tag.out.split_off(at);
            first.push(format!("set {name} = ({default}) if {name} is undefined else {given} "));
            has_default = true;
        } else if has_default {
            return Err(tag.unexpected("a default"));
        } else if is_marked {
            first.push(format!("set {name} = {given} "));
        }
        if tag.is(")") {
            break;
        }
        tag.expect(",")?;
        if tag.is(")") {
            return Err(tag.unexpected("a name"));
        }
    }
    for name in extra.names() {
        let comma = if tag.out.ends_with('(') { "" } else { ", " };
        tag.out.extend([comma, name]);
    }
    tag.expect(")")
}
