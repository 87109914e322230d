//! The table of borders: which files may not use what, and why.

/// One border.
pub struct Rule {
    pub name: &'static str,
    /// Prefixes of the files it holds for, from the workspace's root.
    pub within: &'static [&'static str],
    /// Prefixes of the files it does not hold for.
    pub except: &'static [&'static str],
    pub forbids: Forbids,
    pub why: &'static str,
}

pub enum Forbids {
    /// Paths that start like this, except those that start like `but`.
    Paths { paths: &'static [&'static str], but: &'static [&'static str] },
    /// Any of these words.
    Words(&'static [&'static str]),
    /// Calls of these methods, and of these macros.
    Calls { methods: &'static [&'static str], macros: &'static [&'static str] },
    /// `cfg`, `cfg!` and `cfg_attr` that ask for one of these.
    CfgOn(&'static [&'static str]),
    /// Strings that hold one of these.
    Strings(&'static [&'static str]),
    /// Strings that name an option of a command: `--budget`.
    Flags,
    /// More lines than this, tests included.
    LinesAbove(usize),
    /// `allow` and `expect` attributes without `reason = "…"`, tests included.
    LintsWithoutReason,
}

const fn paths(paths: &'static [&'static str]) -> Forbids {
    Forbids::Paths { paths, but: &[] }
}

const EVERYTHING: &[&str] = &["src/", "tools/", "tests/", "shaders/", "fuzz/"];

pub const RULES: &[Rule] = &[
    Rule {
        name: "pure-data",
        within: &["src/checkpoint", "src/plan", "src/encoding", "src/shard"],
        except: &[],
        forbids: paths(&["wgpu", "pollster", "crate::gpu", "crate::stream", "crate::model", "crate::text"]),
        why: "checkpoint, plan, encoding and shard are pure data: no GPU, nothing that runs a model",
    },
    Rule {
        name: "plain-functions",
        within: &["src/plan", "src/encoding"],
        except: &[],
        forbids: Forbids::Words(&["async", "await"]),
        why: "plans and encodings are computed from values; whoever reads the bytes waits for them",
    },
    Rule {
        name: "encoding-alone",
        within: &["src/encoding"],
        except: &[],
        forbids: paths(&["crate::checkpoint", "crate::plan", "crate::shard", "crate::store", "crate::reference"]),
        why: "an encoding knows rows of numbers, not where they come from",
    },
    Rule {
        name: "plan-from-config",
        within: &["src/plan"],
        except: &[],
        forbids: paths(&["crate::checkpoint", "crate::shard", "crate::store"]),
        why: "a plan is made from a config alone, so that an old model profits from a better planner",
    },
    Rule {
        name: "checkpoint-before-model",
        within: &["src/checkpoint"],
        except: &[],
        forbids: paths(&["crate::shard"]),
        why: "a checkpoint is what people publish; the split, not the reader, knows the model's format",
    },
    Rule {
        name: "store-of-bytes",
        within: &["src/store"],
        except: &[],
        forbids: paths(&[
            "wgpu",
            "safetensors",
            "crate::checkpoint",
            "crate::plan",
            "crate::encoding",
            "crate::shard",
            "crate::stream",
            "crate::gpu",
            "crate::model",
            "crate::text",
        ]),
        why: "a store knows objects and byte ranges, not tensors or layers",
    },
    Rule {
        name: "source-of-files",
        within: &["src/source"],
        except: &[],
        forbids: paths(&["wgpu", "pollster", "crate::gpu", "crate::stream", "crate::model"]),
        why: "a source finds files and has them split; it runs nothing",
    },
    Rule {
        name: "stream-of-tiles",
        within: &["src/stream"],
        except: &[],
        forbids: paths(&[
            "safetensors",
            "crate::checkpoint",
            "crate::plan::architectures",
            "crate::model",
            "crate::text",
        ]),
        why: "the stream decides when bytes move, not what they mean: no file formats, no architectures",
    },
    Rule {
        name: "stream-without-shaders",
        within: &["src/stream"],
        except: &[],
        forbids: Forbids::Strings(&[".wgsl", "@compute", "@group", "var<storage"]),
        why: "shaders belong to gpu",
    },
    Rule {
        name: "gpu-of-buffers",
        within: &["src/gpu"],
        except: &[],
        forbids: paths(&[
            "std::path",
            "safetensors",
            "crate::checkpoint",
            "crate::shard",
            "crate::store",
            "crate::model",
            "crate::text",
        ]),
        why: "gpu knows buffers and pipelines, not tensor names or paths",
    },
    Rule {
        name: "model-of-kernels",
        within: &["src/model"],
        except: &[],
        forbids: paths(&["std::path", "safetensors", "crate::checkpoint", "crate::shard::split", "crate::text"]),
        why: "model knows the order of kernels; where bytes come from is the stream's and the stores' affair",
    },
    Rule {
        name: "text-without-gpu",
        within: &["src/text"],
        except: &[],
        forbids: Forbids::Paths {
            paths: &["wgpu", "crate::gpu", "crate::stream", "crate::model", "crate::shard", "crate::checkpoint"],
            but: &[
                "crate::checkpoint::GgufTokenizer",
                "crate::checkpoint::TokenizerFiles",
                "crate::checkpoint::tokenizer_files",
            ],
        },
        why: "text turns ids into strings and logits into ids; it runs without a GPU",
    },
    Rule {
        name: "reference-alone",
        within: &["src/reference"],
        except: &[],
        forbids: paths(&["wgpu", "crate::gpu", "crate::stream", "crate::store", "crate::model", "crate::shard"]),
        why: "a truth that shares code with what it judges proves nothing",
    },
    Rule {
        name: "platform-below-all",
        within: &["src/platform"],
        except: &[],
        forbids: paths(&[
            "crate::checkpoint",
            "crate::plan",
            "crate::encoding",
            "crate::shard",
            "crate::store",
            "crate::stream",
            "crate::gpu",
            "crate::model",
            "crate::text",
        ]),
        why: "the platform gives the engine clock, tasks and Send; it knows nothing of models",
    },
    Rule {
        name: "platform-cfg",
        within: &["src/"],
        except: &["src/platform", "src/store", "src/source", "src/gpu/device.rs", "src/web_api.rs"],
        forbids: Forbids::CfgOn(&["target_arch", "target_family", "target_os", "target_env", "unix", "windows"]),
        why: "only the platform files know the platform; the engine above them is the same code everywhere",
    },
    Rule {
        name: "platform-std",
        within: &["src/"],
        except: &["src/platform", "src/store", "src/source", "src/gpu/device.rs"],
        forbids: paths(&[
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::env",
            "std::time::Instant",
            "std::time::SystemTime",
        ]),
        why: "these panic or fail in a browser; the stores and src/platform stand for them",
    },
    Rule {
        name: "no-panic",
        within: &["src/"],
        except: &[],
        forbids: Forbids::Calls { methods: &["unwrap"], macros: &["panic", "todo", "unimplemented"] },
        why: "the library never panics on input: return an error, or `expect` with the invariant that makes it certain",
    },
    Rule {
        name: "no-printing",
        within: &["src/"],
        except: &[],
        forbids: Forbids::Calls { methods: &[], macros: &["print", "println", "eprint", "eprintln", "dbg"] },
        why: "what a library has to say it returns; the commands print",
    },
    Rule {
        name: "library-words",
        within: &["src/"],
        except: &[],
        forbids: Forbids::Flags,
        why: "the library names its own options: use `words::Term`, which the command shows as its flag",
    },
    Rule {
        name: "file-size",
        within: EVERYTHING,
        except: &[],
        forbids: Forbids::LinesAbove(500),
        why: "a file is one concept; about 400 lines, tests included",
    },
    Rule {
        name: "lint-reasons",
        within: EVERYTHING,
        except: &[],
        forbids: Forbids::LintsWithoutReason,
        why: "an exception that gives no reason cannot be taken back: write `reason = \"…\"`",
    },
];
