//! Translates expressions of Jinja into those of minijinja.
//!
//! minijinja has no hook on its operators: some make values without a bound, and some take what Python refuses. So `a + b` becomes
//! `a|_add(b)`, a filter of [`super::operators`], and so do the other operators that can grow a value or that differ. `and`, `or`, `not`
//! and `if` stay, because they choose what is evaluated; `-`, `/`, `//` and `**` stay, because they take numbers only.
//! Line ends stay where they are, so errors name the right line.

use minijinja::Error;

use super::sandbox::refused;
use super::tokens::{Kind, Token, with_characters};

/// Expressions in expressions. The parser needs stack for each.
const DEEPEST: usize = 60;
/// Tests take their argument in brackets, or one operand behind their name unless it is one of these.
const NO_ARGUMENT: [&str; 3] = ["else", "or", "and"];
const RESERVED: [&str; 8] = ["and", "or", "not", "if", "else", "elif", "in", "is"];

/// How tightly the parts of an expression hold together, from an `or` to what needs no brackets.
const IF: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const CONCAT: u8 = 6;
const PRODUCT: u8 = 7;
const POWER: u8 = 8;
/// A name, a literal or something looked up in them: no value that was just made.
const STORED: u8 = 10;
/// Anything else that needs no brackets.
const MADE: u8 = 9;

/// Writes the tokens of a tag anew.
pub(super) struct Translator<'a> {
    tokens: Vec<Token<'a>>,
    /// Those that can tell an argument that is undefined from none.
    macros: &'a [String],
    at: usize,
    depth: usize,
    pub(super) out: String,
    /// The expression holds constants only.
    pub(super) is_constant: bool,
}

impl<'a> Translator<'a> {
    /// Of a tag, whose last token is its end.
    pub(super) fn new(tokens: Vec<Token<'a>>, macros: &'a [String]) -> Self {
        Self { tokens, macros, at: 0, depth: 0, out: String::new(), is_constant: false }
    }

    /// Whether calls of this macro mark what is undefined.
    pub(super) fn is_marked(&self, name: &str) -> bool {
        self.macros.iter().any(|found| found == name)
    }

    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// Whether the next token is this sign or name.
    pub(super) fn is(&self, text: &str) -> bool {
        let token = self.peek();
        token.text == text && matches!(token.kind, Kind::Sign | Kind::Name)
    }

    fn next_is(&self, text: &str) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| token.kind == Kind::Sign && token.text == text)
    }

    pub(super) fn at_end(&self) -> bool {
        self.peek().kind == Kind::End
    }

    /// Goes on, and writes the line ends that stood before the token.
    pub(super) fn skip(&mut self) -> Token<'a> {
        let token = self.peek();
        self.out.extend(std::iter::repeat_n('\n', token.lines));
        self.at += 1;
        token
    }

    /// Writes the next token.
    pub(super) fn copy(&mut self) -> Token<'a> {
        let token = self.skip();
        if token.kind != Kind::Sign && self.out.ends_with(|c: char| c.is_alphanumeric() || "_'\"})]".contains(c)) {
            self.out.push(' ');
        }
        self.out.push_str(&with_characters(token));
        token
    }

    pub(super) fn copy_if(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.copy();
        }
        found
    }

    fn skip_if(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.skip();
        }
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), Error> {
        if self.copy_if(text) { Ok(()) } else { Err(self.unexpected(text)) }
    }

    pub(super) fn name(&mut self) -> Result<Token<'a>, Error> {
        if self.peek().kind == Kind::Name { Ok(self.copy()) } else { Err(self.unexpected("a name")) }
    }

    pub(super) fn unexpected(&self, expected: &str) -> Error {
        refused(format!("{:?} stands where {expected} should", self.peek().text))
    }

    /// One expression, or a tuple without brackets. `with_if`: `a if b else c` may stand there. `filter`: what it goes through.
    pub(super) fn tuple(&mut self, with_if: bool, filter: &str) -> Result<(), Error> {
        let start = self.out.len();
        let mut level = self.part(with_if)?;
        if self.is(",") {
            self.out.insert(start, '(');
            while self.copy_if(",") && !self.at_end() && !self.is("recursive") {
                self.part(with_if)?;
            }
            self.out.push(')');
            level = MADE;
        }
        self.filtered(start, level, filter);
        Ok(())
    }

    fn part(&mut self, with_if: bool) -> Result<u8, Error> {
        if with_if { self.condition() } else { self.binary(OR) }
    }

    fn filtered(&mut self, start: usize, level: u8, filter: &str) {
        if !filter.is_empty() {
            self.bracket(start, level);
            self.out.extend(["|", filter]);
        }
    }

    /// Puts brackets around what was written since `start`, where a filter would take only a part of it.
    fn bracket(&mut self, start: usize, level: u8) {
        if level < MADE {
            self.out.insert(start, '(');
            self.out.push(')');
        }
    }

    /// An expression. The value is measured where the expression makes one: see `sandbox`.
    pub(super) fn kept(&mut self) -> Result<(), Error> {
        let start = self.out.len();
        let level = self.condition()?;
        if level != STORED {
            self.filtered(start, level, "_kept");
        }
        Ok(())
    }

    /// `a if b else c`, and all that holds together more tightly.
    pub(super) fn condition(&mut self) -> Result<u8, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(refused("the template is too involved"));
        }
        let mut level = self.binary(OR)?;
        while self.is("if") {
            self.copy();
            self.out.push(' ');
            self.binary(OR)?;
            if self.copy_if("else") {
                self.out.push(' ');
                self.condition()?;
            }
            level = IF;
        }
        self.depth -= 1;
        Ok(level)
    }

    /// Operators that hold together at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<u8, Error> {
        let start = self.out.len();
        let mut level = self.operand(least)?;
        while let Some((operator, name)) = self.operator().filter(|(operator, _)| *operator >= least) {
            if operator == COMPARE {
                self.bracket(start, level);
                self.comparison()?;
                level = MADE;
            } else if name.is_empty() {
                self.out.push(' ');
                self.copy();
                self.out.push(' ');
                self.binary(operator + 1)?;
                level = operator;
            } else {
                self.bracket(start, level);
                self.skip();
                self.out.extend(["|", name, "("]);
                self.binary(operator + 1)?;
                while operator == CONCAT && self.skip_if("~") {
                    self.out.push_str(", ");
                    self.binary(operator + 1)?;
                }
                self.out.push(')');
                level = MADE;
            }
        }
        Ok(level)
    }

    /// The operator that comes next, with the filter that it becomes.
    fn operator(&self) -> Option<(u8, &'static str)> {
        let token = self.peek();
        Some(match (token.kind, token.text) {
            (Kind::Name, "or") => (OR, ""),
            (Kind::Name, "and") => (AND, ""),
            (Kind::Sign, "-") => (SUM, ""),
            (Kind::Sign, "/" | "//") => (PRODUCT, ""),
            (Kind::Sign, "**") => (POWER, ""),
            (Kind::Sign, "+") => (SUM, "_add"),
            (Kind::Sign, "~") => (CONCAT, "_cat"),
            (Kind::Sign, "*") => (PRODUCT, "_mul"),
            (Kind::Sign, "%") => (PRODUCT, "_mod"),
            (Kind::Name, "in" | "not") | (Kind::Sign, "==" | "!=" | "<" | "<=" | ">" | ">=") => (COMPARE, ""),
            _ => return None,
        })
    }

    /// One comparison, or several in a chain, behind the first operand.
    fn comparison(&mut self) -> Result<(), Error> {
        let start = self.out.len();
        let mut names = Vec::new();
        while let Some((COMPARE, _)) = self.operator() {
            let name = match self.skip().text {
                "==" => "eq",
                "!=" => "ne",
                "<" => "lt",
                "<=" => "le",
                ">" => "gt",
                ">=" => "ge",
                "not" if !self.is("in") => return Err(self.unexpected("in")),
                "not" => {
                    self.skip();
                    "not_in"
                }
                _ => "in",
            };
            self.out.push_str(if names.is_empty() { "(" } else { ", " });
            let at = self.out.len();
            self.binary(COMPARE + 1)?;
            names.push((name, at));
        }
        match names[..] {
            [(name, _)] => self.out.insert_str(start, &format!("|_{name}")),
            _ => {
                for (name, at) in names.iter().rev() {
                    self.out.insert_str(*at, &format!("'_{name}', "));
                }
                self.out.insert_str(start, "|_chain");
            }
        }
        self.out.push(')');
        Ok(())
    }

    fn operand(&mut self, least: u8) -> Result<u8, Error> {
        let mut nots = 0;
        while least <= NOT && self.is("not") {
            self.copy();
            self.out.push(' ');
            nots += 1;
        }
        if nots > 0 {
            self.binary(COMPARE)?;
            return Ok(NOT);
        }
        let start = self.out.len();
        let level = self.signed()?;
        self.filters(start, level)
    }

    /// A value behind any number of signs.
    fn signed(&mut self) -> Result<u8, Error> {
        let mut signs = Vec::new();
        while matches!(self.peek(), Token { kind: Kind::Sign, text: "-" | "+", .. }) {
            signs.push(if self.skip().text == "-" { "|_neg" } else { "|_pos" });
        }
        // Each is a filter, which needs stack.
        if signs.len() > DEEPEST {
            return Err(refused("the template is too involved"));
        }
        let level = self.postfix()?;
        self.out.extend(signs.iter().rev().copied());
        Ok(if signs.is_empty() { level } else { STORED })
    }

    /// A value with what is looked up in it and called of it.
    fn postfix(&mut self) -> Result<u8, Error> {
        let start = self.out.len();
        let callee = self.peek();
        let mut level = self.primary()?;
        loop {
            if self.is(".") {
                self.copy();
                if !matches!(self.peek().kind, Kind::Name | Kind::Number) {
                    return Err(self.unexpected("a name"));
                }
                // Behind a dot it is no word of its own.
                let token = self.skip();
                self.out.push_str(token.text);
                // Of a macro they are a tuple.
                if token.text == "arguments" && self.tokens[self.at - 3].kind == Kind::Name && !self.is("(") {
                    self.out.insert(start, '(');
                    self.out.truncate(self.out.len() - ".arguments".len());
                    self.out.push_str("|_arguments)");
                }
            } else if self.is("[") {
                self.subscript(start)?;
            } else if self.is("(") {
                // What a loop walks over, and what a function keeps, is as good as set.
                let name = if self.out[start..].trim() == callee.text { callee.text } else { "" };
                self.arguments(match name {
                    "loop" => "_each",
                    name if self.is_marked(name) => "_pass",
                    _ => "_kept",
                })?;
                level = MADE;
            } else {
                return Ok(level);
            }
        }
    }

    /// `[index]`; a filter where that is calculated, or is `[start:stop:step]`.
    fn subscript(&mut self, start: usize) -> Result<(), Error> {
        self.expect("[")?;
        let open = self.out.len();
        let (mut colons, mut is_missing) = (0, true);
        // A float is no index; only numbers that were calculated can be some.
        let mut is_plain = self.peek().kind != Kind::Number || !self.peek().text.contains('.');
        while !self.is("]") {
            if self.skip_if(":") {
                self.out.push_str(if is_missing { "none, " } else { ", " });
                colons += 1;
                is_missing = true;
            } else if is_missing {
                let at = self.out.len();
                let level = self.condition()?;
                is_plain &= level >= MADE;
                // A dict looks at all that a key holds.
                self.filtered(at, level, if level == MADE { "_kept" } else { "" });
                is_missing = false;
            } else {
                return Err(self.unexpected("]"));
            }
        }
        if colons > 2 || colons == 0 && is_missing {
            return Err(self.unexpected("an index"));
        }
        if colons == 0 && is_plain {
            return self.expect("]");
        }
        self.skip();
        self.out.push_str(if is_missing { "none))" } else { "))" });
        let slice = if self.is_constant { "|_const_slice(" } else { "|_slice(" };
        self.out.replace_range(open - 1..open, if colons == 0 { "|_item(" } else { slice });
        // What follows must not be taken for the filter's.
        self.out.insert(start, '(');
        Ok(())
    }

    /// `(a, *b, c=d, **e)`.
    fn arguments(&mut self, filter: &str) -> Result<(), Error> {
        self.expect("(")?;
        while !self.is(")") {
            if self.peek().kind == Kind::Name && self.next_is("=") {
                self.copy();
                self.copy();
            } else if self.is("*") || self.is("**") {
                self.copy();
            }
            let start = self.out.len();
            let level = self.condition()?;
            // What is stored was measured before.
            self.filtered(start, level, if level == STORED && filter == "_kept" { "" } else { filter });
            if !self.copy_if(",") && !self.is(")") {
                return Err(self.unexpected(")"));
            }
        }
        self.expect(")")
    }

    fn primary(&mut self) -> Result<u8, Error> {
        let token = self.peek();
        match (token.kind, token.text) {
            (Kind::Name, name) if !RESERVED.contains(&name) => {
                self.copy();
                Ok(STORED)
            }
            (Kind::Number, _) => {
                self.copy();
                Ok(STORED)
            }
            (Kind::Text, _) => {
                while self.peek().kind == Kind::Text {
                    self.copy();
                }
                Ok(STORED)
            }
            (Kind::Sign, "(") => self.group(")"),
            (Kind::Sign, "[") => self.group("]"),
            (Kind::Sign, "{") => self.group("}"),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// A list, a dict, a tuple, or an expression in brackets.
    fn group(&mut self, close: &str) -> Result<u8, Error> {
        self.copy();
        let mut level = MADE;
        let mut is_tuple = close != ")";
        while !self.is(close) {
            let start = self.out.len();
            let is_literal = matches!(self.peek().kind, Kind::Text | Kind::Number);
            level = self.condition()?;
            if close == "}" {
                self.filtered(start, level, if is_literal { "" } else { "_key" });
                self.expect(":")?;
                self.condition()?;
            }
            let more = self.copy_if(",");
            is_tuple |= more;
            if !more && !self.is(close) {
                return Err(self.unexpected(close));
            }
        }
        self.expect(close)?;
        Ok(if is_tuple { MADE } else { level.max(MADE) })
    }

    /// `|filter(…)` and `is test` behind a value.
    fn filters(&mut self, start: usize, mut level: u8) -> Result<u8, Error> {
        loop {
            if self.copy_if("|") {
                self.filter()?;
            } else if self.is("is") {
                self.bracket(start, level);
                self.test()?;
            } else {
                return Ok(level);
            }
            level = MADE;
        }
    }

    /// The name of a filter, and its arguments.
    pub(super) fn filter(&mut self) -> Result<(), Error> {
        self.own_name()?;
        if self.is("(") {
            self.arguments("")?;
        }
        Ok(())
    }

    /// The name of a filter or a test, and not of one that operators become.
    fn own_name(&mut self) -> Result<(), Error> {
        if self.name()?.text.starts_with('_') {
            return Err(refused("filters and tests do not begin with _"));
        }
        while self.copy_if(".") {
            self.name()?;
        }
        Ok(())
    }

    fn test(&mut self) -> Result<(), Error> {
        self.copy();
        self.copy_if("not");
        self.own_name()?;
        let next = self.peek();
        if self.is("(") {
            return self.arguments("");
        }
        let begins = matches!(next.kind, Kind::Name | Kind::Text | Kind::Number) || self.is("[") || self.is("{");
        if begins && !NO_ARGUMENT.contains(&next.text) {
            self.out.push('(');
            self.postfix()?;
            self.out.push(')');
        }
        Ok(())
    }
}
