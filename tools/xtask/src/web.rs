//! `cargo xtask web`: the page and the npm package.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::process::{cargo, command, root, run};
use crate::setup::node;
use crate::setup::toolchain::{self, WASM, Way};

/// Builds the page (web/dist, a folder for any static host) and the npm package (web/package, for `npm pack`).
///
/// Compiles the engine for wasm32, makes its JavaScript with wasm-bindgen, and bundles page and worker with esbuild.
/// Needs Node.js with npm, which it installs with the system's package manager where it may.
#[derive(clap::Args)]
pub struct Args {
    /// Do not shrink the wasm with binaryen: faster to build, larger to load
    #[arg(long)]
    quick: bool,
}

/// Page, worker, JavaScript and wasm together, gzipped, may have this many bytes.
const MOST_GZIPPED_BYTES: u64 = 1_500_000;
const WASM_NAME: &str = "tilestream_bg.wasm";

pub fn main(args: &Args) -> Result<()> {
    let report = build(args.quick)?;
    println!("\nweb: {report}\nweb: the page is in web/dist, the package in web/package (`npm pack ./web/package`)");
    Ok(())
}

/// Builds everything and says how large it is.
///
/// # Errors
/// Where a tool is missing or fails, or the result is too large.
pub fn build(quick: bool) -> Result<String> {
    node::set_up()?;
    let way = toolchain::set_up_wasm()?;
    let mut cargo = cargo();
    cargo.args(["build", "--package", "tilestream", "--lib", "--locked", "--profile", "web"]);
    way.apply(&mut cargo, WASM);
    run(&mut cargo)?;
    let built = root().join(way.target_dir()).join(WASM).join("web/tilestream.wasm");
    let web = root().join("web");
    bind(&built, &web.join("build"))?;
    if !quick {
        shrink(&web.join("build").join(WASM_NAME))?;
    }
    run(npx(&web, "tsc")?.args(["--noEmit"]))?;
    page(&web)?;
    package(&web)?;
    size(&web.join("dist"))
}

/// Builds the engine and the table of kernels for wasm32, both by one command: what they depend on is then compiled once.
///
/// # Errors
/// Where it does not compile.
pub fn compile_unoptimized() -> Result<Way> {
    let way = toolchain::set_up_wasm()?;
    let mut cargo = cargo();
    cargo.args(["build", "--package", "tilestream", "--package", "tilestream-browser-tests", "--lib", "--locked"]);
    cargo.args(toolchain::UNOPTIMIZED);
    way.apply(&mut cargo, WASM);
    run(&mut cargo)?;
    Ok(way)
}

/// Builds the table of kernels for a browser, into web/build/kernels; where it lies.
///
/// # Errors
/// Where it does not compile.
pub fn kernel_table() -> Result<PathBuf> {
    let way = compile_unoptimized()?;
    let out = root().join("web/build/kernels");
    bind(&root().join(way.target_dir()).join(WASM).join("debug/tilestream_browser_tests.wasm"), &out)?;
    bundle(&root().join("web"), &["src/subgroups.ts=subgroups"], &out)?;
    Ok(out)
}

/// JavaScript for the wasm, in `out`.
fn bind(wasm: &Path, out: &Path) -> Result<()> {
    println!("web: wasm-bindgen");
    fresh(out)?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).typescript(true).out_name("tilestream").web(true)?;
    bindgen.remove_name_section(true).remove_producers_section(true).generate(out)
}

/// Makes the wasm smaller, with the binaryen that npm installed.
fn shrink(wasm: &Path) -> Result<()> {
    let tool = root().join("web/node_modules/binaryen/bin/wasm-opt");
    let before = fs::metadata(wasm)?.len();
    let small = wasm.with_extension("small");
    let mut optimize = command(node::node()?);
    // What the compiler uses today, and every browser with WebGPU knows.
    let features =
        ["bulk-memory", "multivalue", "mutable-globals", "nontrapping-float-to-int", "reference-types", "sign-ext"];
    optimize.arg(tool).arg(wasm).args(features.map(|feature| format!("--enable-{feature}")));
    // Stronger passes make fewer bytes that pack worse: -Os has 4 % less here, and 5 % more once it is gzipped.
    optimize.args(["-O1", "--duplicate-function-elimination", "-o"]).arg(&small);
    run(&mut optimize)?;
    fs::rename(&small, wasm)?;
    println!("web: wasm {before} -> {} bytes", fs::metadata(wasm)?.len());
    Ok(())
}

/// web/dist: the page, its worker and the wasm.
fn page(web: &Path) -> Result<()> {
    let dist = web.join("dist");
    fresh(&dist)?;
    bundle(web, &["page/main.ts=page", "src/worker.ts=worker"], &dist)?;
    let css = ["page/style.css", "--minify", "--outfile=dist/style.css", "--log-level=warning"];
    run(npx(web, "esbuild")?.args(css))?;
    copy(&web.join("page/index.html"), &dist.join("index.html"))?;
    copy(&web.join("build").join(WASM_NAME), &dist.join(WASM_NAME))
}

/// web/package: what `npm pack` packs.
fn package(web: &Path) -> Result<()> {
    let package = web.join("package");
    fresh(&package)?;
    let dist = package.join("dist");
    bundle(web, &["src/index.ts=index", "src/worker.ts=worker"], &dist)?;
    copy(&web.join("build").join(WASM_NAME), &dist.join(WASM_NAME))?;
    let types = ["--declaration", "--emitDeclarationOnly", "--noEmit", "false", "--stripInternal"];
    let folders = ["--rootDir", "src", "--outDir", "package/dist", "--project", "tsconfig.package.json"];
    run(npx(web, "tsc")?.args(types).args(folders))?;
    manifest(web, &package.join("package.json"))?;
    copy(&web.join("README.md"), &package.join("README.md"))
}

/// The package's manifest: ours without what is only for here. Its keys keep their order, for `types` must come first in
/// `exports`.
fn manifest(web: &Path, out: &Path) -> Result<()> {
    let script = "const fs = require('fs'); const [from, to] = process.argv.slice(1);
        const { devDependencies, scripts, private: _, ...rest } = JSON.parse(fs.readFileSync(from, 'utf8'));
        fs.writeFileSync(to, JSON.stringify(rest, null, 2) + '\\n');";
    run(command(node::node()?).args(["-e", script]).arg(web.join("package.json")).arg(out))
}

/// Bundles entry points, each `FILE=NAME`, into `out/NAME.js`.
fn bundle(web: &Path, entries: &[&str], out: &Path) -> Result<()> {
    let mut esbuild = npx(web, "esbuild")?;
    for entry in entries {
        let (file, name) = entry.split_once('=').context("an entry is FILE=NAME")?;
        esbuild.arg(format!("{name}={file}"));
    }
    let how = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"];
    run(esbuild.args(how).arg(format!("--outdir={}", out.display())))
}

/// A tool that web/package-lock.json lists.
fn npx(web: &Path, tool: &str) -> Result<Command> {
    let mut call = command(web.join("node_modules/.bin").join(tool));
    call.current_dir(web);
    Ok(call)
}

fn fresh(folder: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// What a visitor loads, gzipped as servers send it.
fn size(dist: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dist)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let (mut total, mut parts) = (0, Vec::new());
    for file in files {
        let bytes = gzipped(&file)?;
        total += bytes;
        parts.push(format!("{} {} KB", file.file_name().unwrap_or_default().to_string_lossy(), bytes / 1000));
    }
    if total > MOST_GZIPPED_BYTES {
        bail!("{total} bytes gzipped, more than {MOST_GZIPPED_BYTES}: {}", parts.join(", "));
    }
    Ok(format!("{} KB gzipped ({})", total / 1000, parts.join(", ")))
}

fn gzipped(file: &Path) -> Result<u64> {
    let script =
        "process.stdout.write(String(require('zlib').gzipSync(require('fs').readFileSync(0), {level: 9}).length))";
    let mut gzip = command(node::node()?);
    let mut child = gzip.args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin was asked to be piped")?.write_all(&fs::read(file)?)?;
    let output = child.wait_with_output()?;
    String::from_utf8_lossy(&output.stdout).parse().with_context(|| format!("cannot gzip {}", file.display()))
}
