//! The store of a hub's repository: commits, pages, tokens, and signed addresses that expire.

use pollster::block_on;
use serde_json::Value;
use tilestream::internals::shard::split::{SplitOptions, split};
use tilestream::store::{HubRepo, HubStore, HubToken, MemoryStore, Store, conformance};
use tilestream::{ErrorKind, Result};

use super::hasty;
use super::hub_server::{Hub, REPO};

fn open(hub: &Hub, name: &str, token: Option<&str>) -> Result<HubStore> {
    let token = token.map(HubToken::new).transpose()?;
    block_on(HubStore::open(Some(&hub.url()), &HubRepo::parse(name)?, token, hasty()))
}

fn large(seed: u8) -> Vec<u8> {
    (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn read(store: &HubStore, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0xAA; len];
    block_on(store.read_at("model.bin", offset, &mut buffer)).map(|()| buffer)
}

fn one(seed: u8) -> Vec<(String, Vec<u8>)> {
    vec![("model.bin".to_owned(), large(seed)), ("config.json".to_owned(), b"{}".to_vec())]
}

#[test]
fn a_repository_passes_the_suite() {
    let hub = Hub::new(conformance::objects());
    let store = open(&hub, REPO, None).expect("opens");
    block_on(conformance::check(&store)).expect("conforms");
    assert_eq!(block_on(store.list()).expect("lists"), ["empty", "one.bin", "pages.bin"], "both pages");
    assert!(!store.is_local());
}

#[test]
fn what_is_read_belongs_to_one_commit() {
    let hub = Hub::new(one(0));
    let store = open(&hub, REPO, None).expect("opens");
    let first = store.commit().to_owned();
    let second = hub.push(one(1));
    assert!(read(&store, 0, 50_000).expect("reads") == large(0), "the commit that was main");
    let newer = open(&hub, REPO, None).expect("opens");
    assert_eq!(newer.commit(), second);
    assert!(read(&newer, 0, 50_000).expect("reads") == large(1));
    assert_ne!(store.content_id("model.bin"), newer.content_id("model.bin"));
    assert_eq!(store.content_id("config.json"), newer.content_id("config.json"));
    let named = open(&hub, &format!("{REPO}@{first}"), None).expect("opens");
    assert!(read(&named, 7, 9).expect("reads") == large(0)[7..16]);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let hub = Hub::new(one(0));
    hub.gate("hf_secret");
    let store = open(&hub, REPO, Some("hf_secret")).expect("opens");
    for offset in [0, 100, 200] {
        read(&store, offset, 100).expect("reads");
    }
    block_on(store.read_small("config.json", 10)).expect("reads");
    let seen = hub.take_seen();
    assert!(seen.iter().any(|seen| seen.at_storage) && seen.iter().any(|seen| !seen.at_storage));
    for seen in seen {
        let expected = (!seen.at_storage).then_some("Bearer hf_secret");
        assert_eq!(seen.authorization.as_deref(), expected, "{}", seen.path);
    }
    assert!(!format!("{store:?}").contains("hf_secret"));
}

#[test]
fn a_signed_address_is_used_until_it_expires_and_then_renewed() {
    let hub = Hub::new(one(0));
    let store = open(&hub, REPO, None).expect("opens");
    let all = large(0);
    let resolved = |hub: &Hub| hub.take_seen().iter().filter(|seen| seen.path.contains("/resolve/")).count();
    let read_all = || {
        for offset in (0..50_000).step_by(5_000) {
            assert!(read(&store, offset, 5_000).expect("reads") == all[offset as usize..][..5_000]);
        }
    };
    read_all();
    assert_eq!(resolved(&hub), 1, "the hub is asked once for ten reads");
    hub.sign_for(3);
    read_all();
    assert_eq!(resolved(&hub), 4, "and again when the storage refuses");
}

#[test]
fn what_is_announced_is_asked_for_at_once() {
    let hub = Hub::new(one(0));
    let store = open(&hub, REPO, None).expect("opens");
    let all = large(0);
    let ranges = |hub: &Hub| hub.take_stored().iter().filter_map(|seen| seen.range).collect::<Vec<_>>();
    let read_from = |start: u64, end: u64| {
        for offset in (start..end).step_by(5_000) {
            assert!(read(&store, offset, 5_000).expect("reads") == all[offset as usize..][..5_000], "{offset}");
        }
    };
    store.announce("model.bin", 5_000..45_000);
    read_from(5_000, 45_000);
    assert_eq!(ranges(&hub), [(5_000, 45_000)]);
    // Out of order, and beyond what was announced.
    store.announce("model.bin", 0..20_000);
    read_from(10_000, 30_000);
    assert_eq!(ranges(&hub), [(10_000, 20_000), (20_000, 25_000), (25_000, 30_000)]);
    // An answer that breaks off is continued where it was.
    store.announce("model.bin", 0..50_000);
    hub.cut(32_000);
    read_from(0, 50_000);
    assert_eq!(ranges(&hub), [(0, 50_000), (18_000, 20_000), (20_000, 50_000)]);
    // A range that the file does not have is nobody's promise.
    store.announce("model.bin", 0..50_001);
    read_from(0, 10_000);
    hub.sign_for(0);
    assert_eq!(read(&store, 0, 5_000).expect_err("refused").kind(), ErrorKind::Network);
}

#[test]
fn a_storage_that_always_refuses_is_an_error_without_its_signature() {
    let hub = Hub::new(one(0));
    let store = open(&hub, REPO, None).expect("opens");
    hub.sign_for(0);
    let error = read(&store, 0, 10).expect_err("refused");
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(text.contains("model.bin") && text.contains("403") && !text.contains("signature="), "{text}");
}

#[test]
fn refusals_say_what_to_do_and_show_no_token() {
    let hub = Hub::new(one(0));
    let told = |name: &str, token: Option<&str>| {
        let error = open(&hub, name, token).expect_err("refused");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}/{}: ", hub.url(), name.split('@').next().unwrap_or_default())), "{text}");
        assert!(!text.contains("hf_wrong"), "{text}");
        (error.kind(), text)
    };
    let (kind, text) = told("org/absent", None);
    assert!(kind == ErrorKind::NotFound && text.contains("check the name") && text.contains("private"), "{text}");
    let (kind, text) = told("org/name@v9", None);
    assert!(kind == ErrorKind::NotFound && text.contains("\"v9\""), "{text}");
    hub.gate("hf_secret");
    let (kind, text) = told(REPO, None);
    let page = format!("{}/{REPO}", hub.url());
    assert!(
        kind == ErrorKind::Io && text.contains(&format!("licence at {page}")) && text.contains("HF_TOKEN"),
        "{text}"
    );
    let (_, text) = told(REPO, Some("hf_wrong"));
    assert!(text.contains("settings/tokens"), "{text}");
}

#[test]
fn a_host_that_is_no_hub_says_so() {
    let server = super::server::Server::new([]);
    server.usually(super::server::Act::Whole);
    let repo = HubRepo::parse(REPO).expect("a name");
    let opened = |endpoint: &str| block_on(HubStore::open(Some(endpoint), &repo, None, hasty()));
    assert!(opened(&server.url()).expect_err("an empty host").to_string().contains("no such model"));
    assert_eq!(opened("https://h/?key=1").expect_err("signed").kind(), ErrorKind::Argument);
    assert_eq!(opened("huggingface.co").expect_err("no scheme").kind(), ErrorKind::Argument);
}

#[test]
fn a_folder_is_read_in_place_of_the_first_level() {
    let file = |name: &str, seed| (name.to_owned(), large(seed));
    let hub = Hub::new([file("Q4_K_M/a/model.bin", 1), file("Q4_K_M/a/other.bin", 2), file("model.bin", 3)]);
    let repo = HubRepo::parse(REPO).expect("a name");
    let open = |repo: &HubRepo| block_on(HubStore::open(Some(&hub.url()), repo, None, hasty()));
    let inner = open(&repo.clone().in_folder("Q4_K_M/a").expect("a path")).expect("opens");
    assert_eq!(block_on(inner.list()).expect("lists"), ["model.bin", "other.bin"]);
    assert!(read(&inner, 5, 9).expect("reads") == large(1)[5..14]);
    assert!(inner.describe("model.bin").contains("Q4_K_M/a/model.bin"));
    let first = open(&repo).expect("opens");
    assert_eq!(
        (block_on(first.list()).expect("lists"), first.folders()),
        (vec!["model.bin".into()], &["onnx".into()][..])
    );
    assert_ne!(first.content_id("model.bin"), inner.content_id("model.bin"));
    let error = open(&repo.in_folder("absent").expect("a path")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A checkpoint with embeddings of eleven megabytes.
fn wide() -> Vec<(String, Vec<u8>)> {
    const ROWS: u64 = 60_000;
    let read = |name: &str| std::fs::read(crate::common::data("small/tied").join(name)).expect("test data");
    let mut config: Value = serde_json::from_slice(&read("config.json")).expect("JSON");
    config["vocab_size"] = ROWS.into();
    let old = read("model.safetensors");
    let start = 8 + u64::from_le_bytes(old[..8].try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&old[8..start]).expect("JSON");
    let name = "model.embed_tokens.weight";
    let before = header[name]["data_offsets"][1].as_u64().expect("a number");
    let after = ROWS * 96 * 2;
    for (_, entry) in header.as_object_mut().expect("an object").iter_mut().filter(|(key, _)| *key != "__metadata__") {
        for offset in entry["data_offsets"].as_array_mut().expect("two offsets") {
            let old = offset.as_u64().expect("a number");
            *offset = (if old < before { old } else { old - before + after }).into();
        }
    }
    header[name]["shape"][0] = ROWS.into();
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend((0..after as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes.extend(&old[start + before as usize..]);
    vec![("config.json".to_owned(), config.to_string().into_bytes()), ("model.safetensors".to_owned(), bytes)]
}

#[test]
fn a_split_fetches_a_large_tensor_by_one_request() {
    let files = wide();
    let local = MemoryStore::new();
    files.iter().for_each(|(name, bytes)| local.insert(name.as_str(), bytes.clone()));
    let hub = Hub::new(files);
    let remote = open(&hub, REPO, None).expect("opens");
    let split_from = |source: &dyn Store| {
        block_on(async {
            let checkpoint = tilestream::internals::checkpoint::open(source, None).await.expect("opens");
            let spec = tilestream::internals::plan::model_spec(&checkpoint.config).expect("a spec");
            let sink = MemoryStore::new();
            let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
            split(&checkpoint, &spec, source, &sink, &SplitOptions::default(), go_on).await.expect("splits");
            sink
        })
    };
    let (expected, got) = (split_from(&local), split_from(&remote));
    for name in block_on(expected.list()).expect("lists").iter().filter(|name| name.ends_with(".safetensors")) {
        let read = |store: &MemoryStore| block_on(store.read_small(name, 1 << 30)).expect("reads");
        assert!(read(&got) == read(&expected), "{name}");
    }
    let large = |seen: &super::hub_server::Seen| seen.range.is_some_and(|(first, end)| end - first > 1 << 20);
    assert_eq!(hub.take_stored().iter().filter(|seen| large(seen)).count(), 1);
}

#[test]
fn a_host_that_knows_no_ranges_sends_each_file_once() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for announced in [false, true] {
        let hub = Hub::new([("model.bin".to_owned(), bytes.clone())]);
        hub.know_no_ranges();
        let store = open(&hub, REPO, None).expect("opens");
        let before = store.counters().bytes_received;
        assert!(read(&store, 0, 8).expect("reads") == bytes[..8]);
        if announced {
            store.announce("model.bin", 0..bytes.len() as u64);
        }
        // In order, as a split reads; and one piece from before.
        for offset in (8..bytes.len()).step_by(100_000).chain([1_999_999]) {
            let len = 100_000.min(bytes.len() - offset);
            assert!(read(&store, offset as u64, len).expect("reads") == bytes[offset..offset + len], "{offset}");
        }
        let received = store.counters().bytes_received - before;
        assert!(received < bytes.len() as u64 * 11 / 10, "{received} of {} bytes", bytes.len());
    }
}
