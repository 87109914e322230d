//! Hosts that answer ranges with whole files: each file is sent once, however many readers begin at the same time.

use std::sync::Arc;

use pollster::block_on;
use tilestream::internals::shard::Model;
use tilestream::store::cache::FolderCache;
use tilestream::store::{HttpStore, HubRepo, HubStore, Store, Window};

use super::hasty;
use super::healing::wide;
use super::hub_server::{Hub, REPO};
use super::server::{Act, Server};

/// What a read of a header, or of a first answer that is not wanted, may cost for each file.
const SMALL_BYTES: u64 = 64 << 10;

#[test]
fn parallel_first_reads_of_a_model_fetch_each_file_once() {
    let sink = wide();
    let names = block_on(sink.list()).expect("listed");
    let file = |name: &String| (name.clone(), sink.get(name).expect("there"));
    let server = Server::new(names.iter().map(file));
    server.usually(Act::Whole);
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(HttpStore::with_options(&server.url(), hasty()).expect("an address"));
    let place = FolderCache::create(folder.path()).expect("made");
    let model = block_on(Model::open_remote(store.clone(), &place)).expect("opens");
    let files = &model.manifest().files;
    let (before, asked) = (store.counters().bytes_received, server.seen().len());
    std::thread::scope(|scope| {
        for reader in 0..6_u64 {
            let (model, sink) = (&model, &sink);
            scope.spawn(move || {
                for (index, file) in (0..).zip(files) {
                    let at = file.len_bytes.saturating_sub(100) * (6 - reader) / 6;
                    let mut bytes = vec![0; 100.min(file.len_bytes - at) as usize];
                    block_on(model.verified().read(index, at, &mut Window::from_slice(&mut bytes))).expect("reads");
                    assert!(bytes == sink.get(&file.name).expect("there")[at as usize..][..bytes.len()]);
                }
            });
        }
    });
    let total: u64 = names.iter().map(|name| sink.get(name).expect("there").len() as u64).sum();
    let received = store.counters().bytes_received - before;
    assert!(received <= total + SMALL_BYTES * files.len() as u64, "{received} bytes of {total}");
    // A range that is all of its file wastes nothing; another one finds out what the host does, once.
    let whole: Vec<String> = files.iter().map(|file| format!("bytes=0-{}", file.len_bytes - 1)).collect();
    let parts = server.seen().into_iter().skip(asked).filter(|seen| seen.path.ends_with(".safetensors"));
    let parts = parts.filter_map(|seen| seen.range).filter(|range| !whole.contains(range)).count();
    assert!(parts <= 1, "{parts} ranges were asked for");
}

#[test]
fn parallel_first_reads_of_a_repository_fetch_each_file_once() {
    const FILES: u8 = 6;
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let name = |file: u8| format!("model-{file}.bin");
    let hub = Hub::new((0..FILES).map(|file| (name(file), bytes.clone())));
    hub.know_no_ranges();
    let repo = HubRepo::parse(REPO).expect("a name");
    let store = block_on(HubStore::open(Some(&hub.url()), &repo, None, hasty())).expect("opens");
    let before = store.counters().bytes_received;
    let check = |file: u8, offset: usize, len: usize| {
        let mut read = vec![0xAA; len];
        block_on(store.read_at(&name(file), offset as u64, &mut read)).expect("reads");
        assert!(read == bytes[offset..offset + len], "{file} at {offset}");
    };
    // All headers at once, as an opening does, and then each file in order, as a split does.
    std::thread::scope(|scope| {
        for file in 0..FILES {
            let check = &check;
            scope.spawn(move || {
                check(file, 0, 8);
                check(file, 0, 10_000);
            });
        }
    });
    for file in 0..FILES {
        (0..20).for_each(|piece| check(file, piece * 100_000, 100_000));
    }
    let (received, total) = (store.counters().bytes_received - before, u64::from(FILES) * 2_000_000);
    // The first piece of each file still looks like a header.
    assert!(received <= total + u64::from(FILES) * (100_000 + 4 * SMALL_BYTES), "{received} bytes of {total}");
}
