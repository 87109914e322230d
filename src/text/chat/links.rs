//! `urlize`: a text with links where it holds addresses of pages or of mail.

use std::collections::BTreeSet;

use minijinja::value::Value;
use minijinja::{Error, State};

use super::args::Args;
use super::chars::{is_digit, is_space, is_word};
use super::filters::iterable;
use super::sandbox::{Bounds, refused};
use super::values::{Paper, escaped, string};

/// Pages without a scheme end with one of these.
const DOMAINS: [&str; 8] = ["com", "net", "int", "edu", "gov", "org", "info", "mil"];
/// Groups of digits behind the two first of an address of IPv6.
const MOST_GROUPS: usize = 6;

/// How links are written.
struct Links {
    /// Characters of an address that are shown. None: all. As in Python, a negative number leaves out as many at the end.
    limit: Option<i64>,
    /// `rel` and `target`, with a space before each.
    attributes: String,
    schemes: Vec<String>,
}

/// `urlize(value, trim_url_limit=None, nofollow=False, target=None, rel=None, extra_schemes=None)`.
pub(super) fn urlize(state: &mut State<'_, '_>, _: Bounds, args: &mut Args) -> Result<Value, Error> {
    let (value, limit, nofollow) = (args.value()?, args.int("trim_url_limit")?, args.flag("nofollow")?);
    let (target, rel, schemes) = (args.text("target")?, args.text("rel")?, args.get("extra_schemes")?);
    let text = if value.is_safe() { value.to_string() } else { escaped(&string(state, &value)?) };
    let rel = rel.unwrap_or_default();
    let mut rels: BTreeSet<&str> = rel.split(is_space).filter(|rel| !rel.is_empty()).collect();
    rels.extend(nofollow.then_some("nofollow"));
    rels.insert("noopener");
    let mut attributes = format!(" rel=\"{}\"", escaped(&rels.into_iter().collect::<Vec<_>>().join(" ")));
    if let Some(target) = target.filter(|target| !target.is_empty()) {
        attributes.extend([" target=\"", &escaped(&target), "\""]);
    }
    let mut links = Links { limit, attributes, schemes: Vec::new() };
    for scheme in iterable(&schemes.filter(|schemes| !schemes.is_none()).unwrap_or_default())?.try_iter()? {
        let scheme = scheme.as_str().filter(|scheme| is_scheme(scheme));
        links.schemes.push(scheme.ok_or_else(|| refused("extra_schemes holds what is no scheme"))?.to_owned());
    }
    let schemes_len: usize = links.schemes.iter().map(|scheme| 1 + scheme.len()).sum();
    let mut paper = Paper::new(state);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        let (space, behind) = behind.split_at(behind.find(|c| !is_space(c)).unwrap_or(behind.len()));
        paper.pay(word.len() + schemes_len)?;
        push_word(&mut paper, word, &links)?;
        paper.push(space)?;
        rest = behind;
    }
    Ok(Value::from(paper.text))
}

/// Writes a word, with a link if it is an address in brackets, with marks behind it, or alone.
fn push_word(paper: &mut Paper<'_, '_, '_>, word: &str, links: &Links) -> Result<(), Error> {
    let mut address = word;
    while let Some(rest) = ["(", "<", "&lt;"].iter().find_map(|open| address.strip_prefix(open)) {
        address = rest;
    }
    let (head, body) = word.split_at(word.len() - address.len());
    while let Some(rest) = [")", ">", ".", ",", "&gt;"].iter().find_map(|close| address.strip_suffix(close)) {
        address = rest;
    }
    let mut len = address.len();
    // A bracket that the address opens is closed within it.
    for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
        let (address, tail) = body.split_at(len);
        let opened = address.matches(open).count();
        if opened > address.matches(close).count() {
            let closed = tail.match_indices(close).take(opened).last();
            len += closed.map_or(0, |(at, _)| at + close.len());
        }
    }
    let (address, tail) = body.split_at(len);
    paper.push(head)?;
    push_address(paper, address, links)?;
    paper.push(tail)
}

fn push_address(paper: &mut Paper<'_, '_, '_>, address: &str, links: &Links) -> Result<(), Error> {
    let attributes = links.attributes.as_str();
    let (scheme, shown, attributes) = if is_page(address) {
        let has_scheme = address.starts_with("https://") || address.starts_with("http://");
        (if has_scheme { "" } else { "https://" }, cut(address, links.limit), attributes)
    } else if let Some(mail) = address.strip_prefix("mailto:").filter(|mail| is_mail(mail)) {
        ("", mail.to_owned(), "")
    } else if !address.starts_with("www.") && !address.starts_with('@') && !address.contains(':') && is_mail(address) {
        ("mailto:", address.to_owned(), "")
    } else if links.schemes.iter().any(|scheme| address != scheme && address.starts_with(scheme.as_str())) {
        ("", address.to_owned(), attributes)
    } else {
        return paper.push(address);
    };
    for part in ["<a href=\"", scheme, address, "\"", attributes, ">", &shown, "</a>"] {
        paper.push(part)?;
    }
    Ok(())
}

/// What is shown of an address.
fn cut(address: &str, limit: Option<i64>) -> String {
    let len = address.chars().count() as i64;
    match limit {
        Some(limit) if len > limit => {
            let shown = if limit < 0 { (len + limit).max(0) } else { limit };
            address.chars().take(shown as usize).chain("...".chars()).collect()
        }
        _ => address.to_owned(),
    }
}

/// Whether this may stand in `extra_schemes`: `git:`, `git:/` or `git://`.
fn is_scheme(text: &str) -> bool {
    let name = ["://", ":/", ":"].iter().find_map(|end| text.strip_suffix(end));
    name.is_some_and(|name| name.chars().count() >= 2 && name.chars().all(|c| is_word(c) || ".+-".contains(c)))
}

/// Whether a word is the address of a page.
fn is_page(word: &str) -> bool {
    let with_scheme = behind(word, "https://").or_else(|| behind(word, "http://"));
    if let Some(rest) = with_scheme.and_then(|rest| rest.strip_prefix('[')) {
        return rest.split_once(']').is_some_and(|(groups, path)| is_ipv6(groups) && is_path(path));
    }
    let (host, _) = host_and_path(word).unwrap_or(("", ""));
    let mut labels = host.rsplit('.');
    let is_known = labels.next().is_some_and(|last| DOMAINS.iter().any(|domain| behind(last, domain) == Some("")));
    if is_known && !host.is_empty() && host.contains('.') && labels.all(|label| is_label(label, 2, 63)) {
        return true;
    }
    let named = with_scheme.or_else(|| behind(word, "www."));
    let Some((host, _)) = named.and_then(host_and_path) else { return false };
    is_host(host) || with_scheme.is_some() && is_ipv4(host)
}

/// What is before the port or the path, and both.
fn host_and_path(text: &str) -> Option<(&str, &str)> {
    let (host, path) = text.split_at(text.find([':', '/', '?', '#']).unwrap_or(text.len()));
    is_path(path).then_some((host, path))
}

/// Whether this is a port, a path, both or nothing.
fn is_path(text: &str) -> bool {
    let path = match text.strip_prefix(':') {
        Some(port) => {
            let path = port.trim_start_matches(is_digit);
            let digits = port[..port.len() - path.len()].chars().count();
            if !(1..=5).contains(&digits) {
                return false;
            }
            path
        }
        None => text,
    };
    path.is_empty() || path.starts_with(['/', '?', '#'])
}

/// `a.b.com`, or a name alone.
fn is_host(host: &str) -> bool {
    let (labels, top) = host.rsplit_once('.').unwrap_or(("", host));
    let is_letter = |c: char| folded(c).is_ascii_lowercase();
    let has_top = (2..=63).contains(&top.chars().count()) && top.chars().all(is_letter)
        || behind(top, "xn--").is_some_and(|name| !name.contains('-') && is_label(name, 2, 59));
    has_top && (!host.contains('.') || labels.split('.').all(|label| is_label(label, 1, usize::MAX)))
}

fn is_label(label: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&label.chars().count()) && label.chars().all(|c| is_word(c) || c == '%' || c == '-')
}

fn is_ipv4(host: &str) -> bool {
    let is_part = |part: &str| (1..=3).contains(&part.chars().count()) && part.chars().all(is_digit);
    host.split('.').count() == 4 && host.split('.').all(is_part)
}

/// Groups of up to four digits: two with a colon, and up to six more, whose colons may be left out.
fn is_ipv6(text: &str) -> bool {
    let is_hex = |c: char| is_digit(c) || c.is_ascii_hexdigit();
    let mut parts: Vec<usize> = Vec::new();
    for part in text.split(':') {
        if !part.chars().all(is_hex) {
            return false;
        }
        parts.push(part.chars().count());
    }
    let Some(([first, second], [rest @ .., last])) = parts.split_first_chunk::<2>() else { return false };
    let groups = rest.iter().map(|len| len.div_ceil(4).max(1)).sum::<usize>() + last.div_ceil(4);
    *first <= 4 && *second <= 4 && groups <= MOST_GROUPS
}

/// Whether a word is an address of mail.
fn is_mail(word: &str) -> bool {
    let Some((user, host)) = word.rsplit_once('@') else { return false };
    let Some((name, top)) = host.rsplit_once('.') else { return false };
    let has_name = name.starts_with(is_word) && name.chars().all(|c| is_word(c) || ".-".contains(c));
    !user.is_empty() && has_name && !top.is_empty() && top.chars().all(is_word)
}

/// What stands behind a prefix, in letters of any size.
fn behind<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    prefix.chars().all(|c| rest.next().map(folded) == Some(c)).then_some(rest.as_str())
}

/// A letter in small: `re` takes four others for letters of ASCII as well.
fn folded(c: char) -> char {
    match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        c => c.to_ascii_lowercase(),
    }
}
