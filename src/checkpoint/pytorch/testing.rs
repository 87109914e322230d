//! For tests: writers of zip files and pickles, right and wrong ones. Numbers are taken as given.

/// A member of a [`Zip`].
#[derive(Clone)]
pub(crate) struct Record {
    pub name: Vec<u8>,
    pub bytes: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    /// In the directory, instead of the true ones: header offset and length.
    pub claims: (Option<u64>, Option<u64>),
    /// The name in its own header, instead of the true one.
    pub local_name: Option<Vec<u8>>,
}

impl Record {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let (name, bytes) = (name.as_bytes().to_vec(), bytes.to_vec());
        Self { name, bytes, flags: 0x808, method: 0, claims: (None, None), local_name: None }
    }
}

/// Writes zip files as `torch.save` does: sizes behind the bytes, padding in the headers.
#[derive(Clone, Default)]
pub(crate) struct Zip {
    pub parts: Vec<Record>,
    /// Whether numbers stand in zip64 fields.
    pub large: bool,
}

impl Zip {
    pub(crate) fn part(mut self, name: &str, bytes: &[u8]) -> Self {
        self.parts.push(Record::new(name, bytes));
        self
    }

    /// The same with one part changed.
    pub(crate) fn with(mut self, index: usize, change: impl FnOnce(&mut Record)) -> Self {
        change(&mut self.parts[index]);
        self
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for part in &self.parts {
            let header = part.claims.0.unwrap_or(file.len() as u64);
            let len = part.claims.1.unwrap_or(part.bytes.len() as u64);
            let name = part.local_name.as_ref().unwrap_or(&part.name);
            file.extend(b"PK\x03\x04\0\0");
            file.extend([part.flags.to_le_bytes(), part.method.to_le_bytes()].concat());
            file.extend([0; 16]);
            file.extend([(name.len() as u16).to_le_bytes(), 7_u16.to_le_bytes()].concat());
            file.extend([name, &b"FB\x03\0ZZZ"[..], &part.bytes].concat());
            file.extend(b"PK\x07\x08............");
            directory.extend(self.entry(part, header, len));
        }
        let start = file.len() as u64;
        file.extend(&directory);
        file.extend(end(self.parts.len() as u64, directory.len() as u64, start, self.large));
        file
    }

    fn entry(&self, part: &Record, header: u64, len: u64) -> Vec<u8> {
        let small = |number: u64| if self.large { u32::MAX } else { number as u32 }.to_le_bytes();
        let mut extra = Vec::new();
        if self.large {
            // Behind another field, to be found.
            extra.extend(b"xx\x01\0.\x01\0\x18\0");
            extra.extend([len, len, header].map(u64::to_le_bytes).concat());
        }
        let mut entry = b"PK\x01\x02\0\0\0\0".to_vec();
        entry.extend([part.flags.to_le_bytes(), part.method.to_le_bytes()].concat());
        entry.extend([0; 8]);
        entry.extend([small(len), small(len)].concat());
        entry.extend([part.name.len() as u16, extra.len() as u16, 2].map(u16::to_le_bytes).concat());
        entry.extend([0; 8]);
        entry.extend(small(header));
        entry.extend([&part.name, &extra, &b"hi"[..]].concat());
        entry
    }
}

/// The records behind a directory.
pub(crate) fn end(count: u64, len: u64, start: u64, large: bool) -> Vec<u8> {
    let mut end = Vec::new();
    if large {
        end.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        end.extend([count, count, len, start].map(u64::to_le_bytes).concat());
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend((start + len).to_le_bytes());
        end.extend(1_u32.to_le_bytes());
    }
    end.extend(b"PK\x05\x06\0\0\0\0");
    let counts = if large { u16::MAX } else { count as u16 };
    end.extend([counts.to_le_bytes(); 2].concat());
    end.extend([len, start].map(|number| if large { u32::MAX } else { number as u32 }.to_le_bytes()).concat());
    end.extend([0; 2]);
    end
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn int(number: i32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &items.concat(), b"t"].concat()
}

fn ints(numbers: &[i32]) -> Vec<u8> {
    tuple(&numbers.iter().map(|number| int(*number)).collect::<Vec<_>>())
}

/// A storage of `count` values under the class `torch.CLASS`.
pub(crate) fn storage(class: &str, key: &str, count: i32) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    [tuple(&[text("storage"), class, text(key), text("cpu"), int(count)]), b"Q".to_vec()].concat()
}

/// A view of a storage.
pub(crate) fn tensor(storage: &[u8], offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec();
    let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
    let arguments = [storage.to_vec(), int(offset), ints(shape), ints(strides), vec![0x89], hooks];
    [call, tuple(&arguments), b"R".to_vec()].concat()
}

/// A dict of what other functions here wrote.
pub(crate) fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [&b"}("[..], &items, b"u"].concat()
}

pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A file with this pickle, and the storages `0`, `1`… of these bytes.
pub(crate) fn archive(value: &[u8], storages: &[&[u8]]) -> Zip {
    let zip = Zip::default().part("a/data.pkl", &pickle(value)).part("a/byteorder", b"little");
    storages.iter().enumerate().fold(zip, |zip, (key, bytes)| zip.part(&format!("a/data/{key}"), bytes))
}
