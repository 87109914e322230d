//! Compiles and runs a template that nobody vouches for.
//!
//! The template is compiled by minijinja, then its instructions are rewritten: whatever can make something big, or
//! compare something big, becomes a call that pays first (`ops`), and raw text is written like an expression, so that it is
//! paid for as well. Parsing is bounded beforehand, by the length of a tag. This needs minijinja's machinery, which
//! comes without a promise of stability: hence the exact version in `Cargo.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, Vm, WhitespaceConfig, make_string_output, parse, tokenize,
};
use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::date::Date;
use super::meter::{Meter, refused};
use super::values::Paper;
use super::{builtins, ops};

/// The name of templates in errors.
pub(super) const NAME: &str = "chat_template";
/// Published templates are ten times shorter.
const LONGEST_TEMPLATE_BYTES: usize = 256 << 10;
/// Tokens between `{{` and `}}`. The parser and the compiler need stack for each operator of an expression.
const MOST_TOKENS_OF_A_TAG: usize = 1000;
/// `elif` nests in the parser.
const MOST_ELIFS: usize = 100;
/// What products of constants may fill while a template is compiled.
const MOST_CONSTANT_BYTES: u64 = 4 << 20;
/// Macros capture what is around them, so they nest.
const MOST_MACROS: usize = 64;
/// Frames of loops, blocks and calls.
const DEEPEST_CALLS: usize = 100;
/// Instructions: far more than a long chat needs, done in less than a second.
const FUEL: u64 = 2_000_000;
/// Bytes written, copied or compared.
const WORK_BYTES: u64 = 256 << 20;

fn whitespace() -> WhitespaceConfig {
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true }
}

/// The template with `generation` blocks, which only mark text for training, made blocks that always hold.
pub(super) fn without_generation_blocks(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        result.push_str(before);
        let inner = tag.trim_start_matches(['-', '+']);
        let name_at = tag.len() - inner.trim_start().len();
        let name_len = tag[name_at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tag.len() - name_at);
        let replacement = match &tag[name_at..name_at + name_len] {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        result.push_str(&tag[..name_at]);
        result.push_str(replacement.unwrap_or(&tag[name_at..name_at + name_len]));
        rest = &tag[name_at + name_len..];
    }
    result.push_str(rest);
    result
}

/// Whether the template compiles.
pub(super) fn check(source: &str) -> Result<(), Error> {
    compile(source).map(|_| ())
}

/// Runs the template with `root` as its variables.
pub(super) fn render(source: &str, root: Value, date: Option<Date>) -> Result<String, Error> {
    let (instructions, names_date) = compile(source)?;
    let meter = Meter::new(WORK_BYTES);
    let env = environment(&meter, date, names_date);
    let mut text = String::new();
    let blocks = BTreeMap::new();
    Vm::new(&env).eval(&instructions, root, &blocks, &mut make_string_output(&mut text), AutoEscape::None)?;
    Ok(text)
}

/// The instructions, and whether they ask if there is a date.
fn compile(source: &str) -> Result<(Instructions<'_>, bool), Error> {
    check_tokens(source)?;
    let ast = parse(source, NAME, Default::default(), whitespace())?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&ast);
    let (mut instructions, _) = generator.finish();
    rewrite(&mut instructions)?;
    let names_date = source.contains("strftime_now is defined");
    Ok((instructions, names_date))
}

fn environment(meter: &Arc<Meter>, date: Option<Date>, asks_for_date: bool) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(DEEPEST_CALLS);
    let m = meter.clone();
    env.set_formatter(move |out, _, value| {
        let mut paper = Paper::new(&m);
        paper.push_str(value)?;
        out.write_str(&paper.text).map_err(Error::from)
    });
    ops::add_to(&mut env, meter);
    builtins::add_to(&mut env, meter);
    env.add_function("raise_exception", |message: Rest<Value>| -> Result<(), Error> {
        let message = message.first().and_then(|message| message.as_str()).unwrap_or("no reason given");
        // Long messages are no messages.
        Err(refused(message.chars().take(1000).collect::<String>()))
    });
    let m = meter.clone();
    env.add_function("range", move |from: i64, to: Option<i64>, step: Option<i64>| range(&m, from, to, step));
    match date {
        Some(date) => env.add_function("strftime_now", move |format: &str| {
            date.format(format).ok_or_else(|| refused(format!("the date format {format:?} is not known")))
        }),
        // A template that asks has a date of its own.
        None if asks_for_date => {}
        None => env.add_function("strftime_now", |_: &str| ""),
    }
    env
}

fn range(meter: &Meter, from: i64, to: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = to.map_or((0, from), |to| (from, to));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refused("range cannot have step 0"));
    }
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let distance = if step > 0 { stop - start } else { start - stop };
    let count = (distance.max(0) as u128).div_ceil(step.unsigned_abs());
    meter.charge_places(usize::try_from(count).unwrap_or(usize::MAX))?;
    let items: Vec<_> = (0..count as i128).map(|index| Value::from((start + index * step) as i64)).collect();
    Ok(Value::from_object(items))
}

/// Bounds what the parser and the compiler will do.
fn check_tokens(source: &str) -> Result<(), Error> {
    if source.len() > LONGEST_TEMPLATE_BYTES {
        return Err(refused(format!("the template has {} bytes", source.len())));
    }
    let (mut tokens, mut elifs, mut constants) = (0, 0, 0);
    let (mut product, mut longest, mut multiplies) = (1_u64, 1, false);
    let mut first_of_block = false;
    for token in tokenize(source, false, Default::default(), whitespace()) {
        let (token, span) = token?;
        tokens += 1;
        // The compiler panics at some imports, and there is nothing to import.
        if let Token::Ident("import" | "from" | "include" | "extends" | "block") = token
            && first_of_block
        {
            let message = format!("blocks and other templates in line {} are not supported", span.start_line);
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        first_of_block = matches!(token, Token::BlockStart);
        match token {
            Token::BlockStart | Token::VariableStart => {
                tokens = 0;
                (product, longest, multiplies) = (1, 1, false);
            }
            // `"x" * 9 * 9` is computed by the compiler.
            Token::BlockEnd | Token::VariableEnd if multiplies => {
                constants = product.saturating_mul(longest).saturating_add(constants);
            }
            Token::Int(number) => product = product.saturating_mul(number.max(2)),
            Token::Int128(_) => product = u64::MAX,
            Token::Str(text) => longest = longest.max(text.len() as u64),
            Token::String(text) => longest = longest.max(text.len() as u64),
            Token::Mul | Token::Pow => multiplies = true,
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        if tokens > MOST_TOKENS_OF_A_TAG || elifs > MOST_ELIFS || constants > MOST_CONSTANT_BYTES {
            return Err(refused(format!("the template is too involved near line {}", span.start_line)));
        }
    }
    Ok(())
}

/// Makes every instruction pay that has to.
fn rewrite(instructions: &mut Instructions<'_>) -> Result<(), Error> {
    let mut macros = 0;
    let original = instructions.len() as u32;
    // What is added at the end must not be run into.
    instructions.add(Instruction::Return);
    for index in 0..original {
        let Some(instruction) = instructions.get(index).cloned() else { break };
        macros += usize::from(matches!(instruction, Instruction::BuildMacro(..)));
        let what = unsupported(&instruction).or((macros > MOST_MACROS).then_some("so many macros"));
        if let Some(what) = what {
            let line = instructions.get_line(index).map_or_else(String::new, |line| format!(" in line {line}"));
            return Err(Error::new(ErrorKind::SyntaxError, format!("{what}{line} are not supported")));
        }
        let replacement = match instruction {
            Instruction::EmitRaw(text) => {
                detour(instructions, index, [Instruction::LoadConst(Value::from(text)), Instruction::Emit])
            }
            Instruction::SetAttr(name) => {
                let name = Instruction::LoadConst(Value::from(name));
                let set = [name, Instruction::CallFunction(ops::SET, Some(3)), Instruction::DiscardTop];
                detour(instructions, index, set)
            }
            Instruction::LoadConst(value) if value.as_object().is_some() && !value.is_kwargs() => {
                Instruction::LoadConst(Meter::new(WORK_BYTES).plain(value)?)
            }
            other => match paying(&other) {
                None => continue,
                Some((operator, args)) => {
                    let args = u16::try_from(args).map_err(|_| refused("a list has too many items"))?;
                    Instruction::CallFunction(operator, Some(args))
                }
            },
        };
        *instructions.get_mut(index).expect("the instruction was there above") = replacement;
    }
    Ok(())
}

/// What chat templates have no use for, and would have to pay for in some way.
fn unsupported(instruction: &Instruction<'_>) -> Option<&'static str> {
    match instruction {
        Instruction::CompareAndPreserve(_) => Some("chains of comparisons"),
        Instruction::CallMethod("changed", _) => Some("changes of loops"),
        Instruction::PushAutoEscape => Some("autoescape blocks"),
        Instruction::CallBlock(_) | Instruction::LoadBlocks | Instruction::Include(_) | Instruction::ExportLocals => {
            Some("blocks and other templates")
        }
        _ => None,
    }
}

/// The operator that stands for an instruction, and how many values it takes.
fn paying(instruction: &Instruction<'_>) -> Option<(&'static str, usize)> {
    Some(match instruction {
        Instruction::Add => (ops::ADD, 2),
        Instruction::Mul => (ops::MUL, 2),
        Instruction::StringConcat => (ops::CONCAT, 2),
        Instruction::Eq => (ops::EQ, 2),
        Instruction::Ne => (ops::NE, 2),
        Instruction::Lt => (ops::LT, 2),
        Instruction::Lte => (ops::LE, 2),
        Instruction::Gt => (ops::GT, 2),
        Instruction::Gte => (ops::GE, 2),
        Instruction::In => (ops::IN, 2),
        Instruction::Slice => (ops::SLICE, 4),
        Instruction::BuildList(Some(count)) => (ops::LIST, *count),
        Instruction::BuildMap(pairs) => (ops::DICT, pairs.saturating_mul(2)),
        _ => return None,
    })
}

/// Adds a detour from `index` and back behind it; gives the jump to it.
fn detour<'source, const N: usize>(
    instructions: &mut Instructions<'source>,
    index: u32,
    way: [Instruction<'source>; N],
) -> Instruction<'source> {
    let start = instructions.len() as u32;
    let line = instructions.get_line(index).unwrap_or(1) as u16;
    for instruction in way.into_iter().chain([Instruction::Jump(index + 1)]) {
        instructions.add_with_line(instruction, line);
    }
    Instruction::Jump(start)
}
