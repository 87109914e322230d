//! Reads a pickle without running it: a stack, a memo, and a short list of globals that only describe tensors.
//!
//! Opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>; those that `torch.save` writes are known.
//!
//! Values live in one list and name each other by index, so that a value that is used a thousand times is held once, and
//! neither depth nor sharing costs anything when they are read or dropped. Each step adds at most one value, one entry of
//! the stack and one of the memo, so the cap on steps is the cap on memory.

use std::collections::HashMap;

use super::bytes::Bytes;
use super::value::{Global, Id, Value};
use super::{refused, shown};
use crate::{Error, ErrorKind, Result};

/// Cap on steps. A tensor takes about 40: this is fifty thousand tensors in one file.
const STEPS_CAP: usize = 2 << 20;

/// What a pickle makes.
#[derive(Debug)]
pub(super) struct Values<'a> {
    all: Vec<Value<'a>>,
    /// The value that the pickle stands for.
    pub top: Id,
}

impl<'a> Values<'a> {
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        // Ids come from `Machine::push` alone and values are never removed.
        &self.all[id.0 as usize]
    }
}

/// Reads a whole pickle.
///
/// # Errors
/// - [`ErrorKind::Truncated`] where it ends early.
/// - [`ErrorKind::Malformed`] where it contradicts itself or takes more than [`STEPS_CAP`] steps.
/// - [`ErrorKind::Unsupported`] for opcodes and globals that no tensor needs.
pub(super) fn read(bytes: &[u8]) -> Result<Values<'_>> {
    let mut machine = Machine {
        bytes: Bytes::new(bytes, "its pickle"),
        values: Values { all: Vec::new(), top: Id(0) },
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _ in 0..STEPS_CAP {
        let opcode = machine.bytes.u8()?;
        if opcode == b'.' {
            return machine.stop();
        }
        machine.step(opcode)?;
    }
    Err(machine.bad(&format!("takes more than {STEPS_CAP} steps")))
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    values: Values<'a>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            // A frame is only a hint for reading ahead.
            0x95 => self.bytes.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'q' => self.bytes.u8().and_then(|index| self.remember(index.into())),
            b'r' => self.bytes.u32().and_then(|index| self.remember(index)),
            0x94 => self.remember(self.memo.len() as u32),
            b'h' => self.bytes.u8().and_then(|index| self.recall(index.into())),
            b'j' => self.bytes.u32().and_then(|index| self.recall(index)),
            b'a' => self.pop().and_then(|_| self.list_on_top()),
            b'e' => self.pop_marked().and_then(|_| self.list_on_top()),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            b'u' => self.pop_marked().and_then(|items| self.set_items(&items)),
            b'b' => self.build(),
            _ => {
                let value = self.value(opcode)?;
                self.push(value);
                Ok(())
            }
        }
    }

    /// The value that an opcode makes.
    fn value(&mut self, opcode: u8) -> Result<Value<'a>> {
        Ok(match opcode {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool(opcode == 0x88),
            b'K' => Value::Int(self.bytes.u8()?.into()),
            b'M' => Value::Int(self.bytes.u16()?.into()),
            b'J' => Value::Int(self.bytes.u32()?.cast_signed().into()),
            0x8a => self.long()?,
            b'G' => self.bytes.skip(8).map(|()| Value::Other("a float"))?,
            b'X' => self.text(|bytes| bytes.u32().map(u64::from))?,
            0x8c => self.text(|bytes| bytes.u8().map(u64::from))?,
            0x8d => self.text(Bytes::u64)?,
            b'B' => self.raw(|bytes| bytes.u32().map(u64::from))?,
            b'C' => self.raw(|bytes| bytes.u8().map(u64::from))?,
            b'}' => Value::Dict(Vec::new()),
            b']' => Value::List,
            b')' => Value::Tuple(Box::default()),
            b't' => Value::Tuple(self.pop_marked()?.into_boxed_slice()),
            0x85..=0x87 => self.tuple(opcode - 0x84)?,
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'Q' => {
                let id = self.pop()?;
                Value::storage(&self.values, id)?
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                Value::call(&self.values, callable, arguments)?
            }
            _ => {
                let at = self.bytes.position() - 1;
                return Err(refused(format!(
                    "its pickle has opcode {opcode:#04x} at byte {at}, which torch.save does not write"
                )));
            }
        })
    }

    fn protocol(&mut self) -> Result<()> {
        let protocol = self.bytes.u8()?;
        if (2..=5).contains(&protocol) {
            return Ok(());
        }
        Err(refused(format!("its pickle has protocol {protocol}, not one of 2 to 5")))
    }

    fn stop(mut self) -> Result<Values<'a>> {
        let top = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() || !self.bytes.is_empty() {
            return Err(self.bad("goes on behind its end, or leaves values behind"));
        }
        self.values.top = top;
        Ok(self.values)
    }

    fn push(&mut self, value: Value<'a>) {
        // Below STEPS_CAP, so it fits.
        self.stack.push(Id(self.values.all.len() as u32));
        self.values.all.push(value);
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.bad("takes from an empty stack"));
        }
        self.stack.pop().ok_or_else(|| self.bad("takes from an empty stack"))
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { return Err(self.bad("has no mark")) };
        // Never above the stack: `pop` stops at the mark.
        Ok(self.stack.drain(mark..).collect())
    }

    /// The value on top, which stays there.
    fn top(&mut self) -> Result<&mut Value<'a>> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values.all[id.0 as usize])
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let id = self.pop()?;
        self.stack.push(id);
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let Some(id) = self.memo.get(&index) else { return Err(self.bad("recalls what it never remembered")) };
        self.stack.push(*id);
        Ok(())
    }

    fn tuple(&mut self, len: u8) -> Result<Value<'a>> {
        let mut items = Vec::with_capacity(len.into());
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(Value::Tuple(items.into_boxed_slice()))
    }

    fn list_on_top(&mut self) -> Result<()> {
        match self.top()? {
            Value::List => Ok(()),
            _ => Err(self.bad("appends to what is no list")),
        }
    }

    /// Keys and values in turn.
    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        let Value::Dict(dict) = self.top()? else { return Err(self.bad("sets an item of what is no dict")) };
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        if rest.is_empty() { Ok(()) } else { Err(self.bad("has a key without a value")) }
    }

    /// Sets an object's attributes. A state dict has some (the versions of its modules), and no tensor needs them.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            _ => Err(self.bad("sets attributes of what is no dict")),
        }
    }

    fn text(&mut self, len: impl FnOnce(&mut Bytes<'a>) -> Result<u64>) -> Result<Value<'a>> {
        let len = len(&mut self.bytes)?;
        let bytes = self.bytes.take(len)?;
        std::str::from_utf8(bytes).map(Value::Text).map_err(|_| self.bad("holds a text that is not UTF-8"))
    }

    fn raw(&mut self, len: impl FnOnce(&mut Bytes<'a>) -> Result<u64>) -> Result<Value<'a>> {
        let len = len(&mut self.bytes)?;
        self.bytes.skip(len)?;
        Ok(Value::Other("bytes"))
    }

    /// A number of any size, two's complement.
    fn long(&mut self) -> Result<Value<'a>> {
        let len = self.bytes.u8()?;
        let bytes = self.bytes.take(len.into())?;
        if len > 8 {
            return Ok(Value::Other("a huge number"));
        }
        let fill = if bytes.last().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn global(&mut self) -> Result<Value<'a>> {
        let (module, name) = (self.bytes.until(b'\n')?, self.bytes.until(b'\n')?);
        let (Ok(module), Ok(name)) = (std::str::from_utf8(module), std::str::from_utf8(name)) else {
            return Err(self.bad("names a global that is not UTF-8"));
        };
        known(module, name)
    }

    fn stack_global(&mut self) -> Result<Value<'a>> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.values.get(module), self.values.get(name)) {
            (Value::Text(module), Value::Text(name)) => known(module, name),
            _ => Err(self.bad("names a global by something that is no text")),
        }
    }

    fn bad(&self, what: &str) -> Error {
        let message = format!("its pickle {what}, at byte {}", self.bytes.position());
        Error::new(ErrorKind::Malformed, message).remedy("get the file again")
    }
}

/// The one gate to what a pickle may name. Nothing behind it can run.
fn known<'a>(module: &str, name: &str) -> Result<Value<'a>> {
    Global::named(module, name).map(Value::Global).ok_or_else(|| {
        let (module, name) = (shown(module), shown(name));
        refused(format!("its pickle asks for '{module}.{name}', and nothing of a checkpoint is executed"))
    })
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
