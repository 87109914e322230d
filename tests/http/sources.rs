//! What the library takes for a model: all that the command takes.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use pollster::block_on;
use tilestream::internals::source::{SourceOptions, open, split_folder};
use tilestream::{AutoModel, ErrorKind, ModelFiles, Result};

use super::server::Server;
use crate::common::data;

fn options(folder: &Path) -> SourceOptions {
    SourceOptions::default().cache_dir(folder.join("cache"))
}

fn files(model: &Path, options: &SourceOptions) -> Result<(ModelFiles, Vec<String>)> {
    let told = Mutex::new(Vec::new());
    let tell = |text: &str| told.lock().expect("no panic").push(text.to_owned());
    let files = block_on(open(model, options, &tell, &mut |_| ControlFlow::Continue(())))?;
    Ok((files, told.into_inner().expect("no panic")))
}

#[test]
fn a_folder_a_file_a_split_model_and_an_address_are_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(folder.path());
    for (checkpoint, family) in [("small/gqa", "llama"), ("small-gguf/Q8_0.gguf", "llama")] {
        let checkpoint = data(checkpoint);
        let (found, told) = files(&checkpoint, &options).expect("split and opened");
        assert_eq!(found.spec().family, family);
        assert!(told.iter().any(|text| text.starts_with("splitting")), "{told:?}");
        let (again, told) = files(&checkpoint, &options).expect("found");
        assert_eq!((again.model().manifest(), told), (found.model().manifest(), Vec::new()));

        let split = block_on(split_folder(&checkpoint, &options, &|_| (), &mut |_| ControlFlow::Continue(())));
        let split = split.expect("found");
        assert_eq!(files(&split, &options).expect("a split model").0.model().manifest(), found.model().manifest());
        let read = |entry: std::fs::DirEntry| {
            (entry.file_name().into_string().expect("UTF-8"), std::fs::read(entry.path()).expect("reads"))
        };
        let server = Server::new(std::fs::read_dir(&split).expect("a folder").flatten().map(read));
        let (remote, _) = files(Path::new(&server.url()), &options).expect("an address");
        assert_eq!(remote.model().manifest(), found.model().manifest());
    }
    let nothing = AutoModel::from_pretrained(folder.path().join("absent")).source(options).load();
    assert_eq!(block_on(nothing).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
}

#[test]
fn a_split_that_is_asked_to_stop_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, options) = (data("small/gqa"), options(folder.path()));
    let stopped = block_on(open(&model, &options, &|_| (), &mut |_| ControlFlow::Break(())));
    assert_eq!(stopped.err().map(|error| error.kind()), Some(ErrorKind::Cancelled));
}

#[test]
fn a_host_that_cannot_be_found_is_given_up_at_once() {
    let start = std::time::Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    // A name that is reserved for never being one.
    let error = files(Path::new("http://tilestream.invalid/model/"), &options(folder.path())).err().expect("no host");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("tilestream.invalid cannot be found"), "{error}");
    assert!(start.elapsed().as_secs_f64() < 6.0, "it is not asked again and again");
}
