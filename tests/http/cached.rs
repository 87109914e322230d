//! Models on a web server that are kept on this machine: fetched once, and there when the host is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pollster::block_on;
use tilestream::internals::plan;
use tilestream::internals::shard::Model;
use tilestream::store::cache::FolderCache;
use tilestream::store::{HttpStore, Store, Window};

use super::server::{Act, Server};
use crate::common::split_small;

/// A server with a small model, and a folder to keep it in.
fn stage() -> (Server, tempfile::TempDir) {
    let files = block_on(split_small("gqa", "config.json"));
    let names = block_on(files.store.list()).expect("lists");
    let read = |name: String| {
        let bytes = block_on(files.store.read_small(&name, 1 << 30)).expect("reads");
        (name, bytes)
    };
    (Server::new(names.into_iter().map(read)), tempfile::tempdir().expect("a folder"))
}

fn open(server: &Server, folder: &tempfile::TempDir) -> tilestream::Result<Model> {
    let store = Arc::new(HttpStore::new(&server.url())?);
    block_on(Model::open_remote(store, &FolderCache::create(folder.path())?))
}

fn row(model: &Model, token: u64) -> Vec<u8> {
    let mut bytes =
        vec![0; model.tensor(plan::EMBEDDINGS).and_then(|tensor| tensor.row_bytes()).expect("sizes") as usize];
    let mut window = Window::from_slice(&mut bytes);
    block_on(model.read_rows(plan::EMBEDDINGS, token..token + 1, &mut window)).expect("reads");
    bytes
}

#[test]
fn readers_of_the_same_block_fetch_it_once() {
    let (server, folder) = stage();
    let model = open(&server, &folder).expect("opens");
    let before = server.seen().len();
    server.usually(Act::Slow(100));
    let rows: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|token| {
                scope.spawn({
                    let model = &model;
                    move || row(model, token)
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("reads")).collect()
    });
    let asked: Vec<String> = server.seen()[before..].iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(asked.len(), 2, "the table of checksums and one block: {asked:?}");
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "each its own row");
}

#[test]
fn a_host_that_is_gone_or_mute_is_given_up_soon_where_a_copy_is_kept() {
    let (server, folder) = stage();
    let kept = row(&open(&server, &folder).expect("opens"), 3);
    for act in [Act::Close, Act::Silence, Act::Status(503, "")] {
        server.usually(act.clone());
        let (start, before) = (Instant::now(), server.seen().len());
        let model = open(&server, &folder).unwrap_or_else(|error| panic!("{act:?}: {error}"));
        assert!(start.elapsed() < Duration::from_secs(8), "{act:?}: {:?}", start.elapsed());
        assert_eq!(row(&model, 3), kept);
        // The client may repeat what a dying connection swallowed.
        assert!(server.seen().len() <= before + 2, "{act:?}");
    }
    server.usually(Act::Status(404, ""));
    let error = open(&server, &folder).err().expect("a host that answers is believed");
    assert_eq!(error.kind(), tilestream::ErrorKind::NotFound);
}
