//! The store of a web server, against a real server that misbehaves.

mod cached;
mod healing;
mod hub;
mod hub_server;
mod rangeless;
mod server;
mod sources;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use pollster::block_on;
use tilestream::store::{HttpOptions, HttpStore, Store, conformance};
use tilestream::{Error, ErrorKind};

use self::server::{Act, Server};

/// Limits that let tests end soon.
fn hasty() -> HttpOptions {
    let usual = HttpOptions::default();
    usual.attempts(3).stall_s(0.3).slow_s(0.3).backoff_s(0.01).most_wait_s(0.2)
}

/// A server with one object of `len` bytes, and its store.
fn one(len: usize) -> (Server, HttpStore, Vec<u8>) {
    let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let server = Server::new([("model.bin".to_owned(), bytes.clone())]);
    let store = HttpStore::with_options(&server.url(), hasty()).expect("an address");
    (server, store, bytes)
}

fn read(store: &HttpStore, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0xAA; len];
    block_on(store.read_at("model.bin", offset, &mut buffer)).map(|()| buffer)
}

/// Reads bytes 1000..1500 of an object while the server follows the script, and expects the right bytes.
fn survives(acts: &[Act], ranges: &[&str]) -> HttpStore {
    let (server, store, bytes) = one(20_000);
    server.script(acts.iter().cloned());
    let got = read(&store, 1000, 500).unwrap_or_else(|error| panic!("{acts:?}: {error}"));
    assert!(got == bytes[1000..1500], "{acts:?}");
    assert_eq!(server.ranges(), ranges, "{acts:?}");
    assert_eq!(store.counters().requests, ranges.len() as u64);
    store
}

/// The same with a script that goes on for ever; the error names the address.
fn fails(act: Act, kind: ErrorKind, requests: usize) -> String {
    let (server, store, _) = one(20_000);
    server.usually(act.clone());
    let error = read(&store, 1000, 500).expect_err("no such luck");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{act:?}: {text}");
    assert!(text.starts_with(&format!("{}model.bin: ", server.url())), "{text}");
    assert!(text.contains("; "), "a remedy: {text}");
    assert_eq!(server.seen().len(), requests, "{act:?}: {text}");
    text
}

const ASKED: &str = "1000-1499";

#[test]
fn a_good_server_passes_the_suite() {
    let server = Server::new(conformance::objects());
    let store = HttpStore::with_options(&server.url(), hasty()).expect("an address");
    block_on(conformance::check(&store)).expect("conforms");
    assert!(!store.ignores_ranges());
    assert_eq!(store.counters().retries, 0);
    assert_eq!(store.counters().requests, server.seen().len() as u64);
}

#[test]
fn a_server_without_ranges_passes_the_suite_too() {
    let server = Server::new(conformance::objects());
    server.usually(Act::Whole);
    let store = HttpStore::with_options(&server.url(), hasty()).expect("an address");
    block_on(conformance::check(&store)).expect("conforms");
    assert!(store.ignores_ranges());
}

#[test]
fn one_read_is_one_request_for_exactly_its_bytes() {
    let store = survives(&[], &[ASKED]);
    let counters = store.counters();
    assert_eq!((counters.bytes_received, counters.requests, counters.retries), (500, 1, 0));
}

#[test]
fn passing_troubles_are_survived() {
    survives(&[Act::Status(500, "")], &[ASKED, ASKED]);
    survives(&[Act::Status(503, "Retry-After: 0\r\n"), Act::Close], &[ASKED, ASKED, ASKED]);
    survives(&[Act::Silence], &[ASKED, ASKED]);
    survives(&[Act::Status(408, ""), Act::Status(502, "")], &[ASKED, ASKED, ASKED]);
}

#[test]
fn what_has_arrived_is_not_asked_for_again() {
    survives(&[Act::Break(200)], &[ASKED, "1200-1499"]);
    survives(&[Act::Stall(123)], &[ASKED, "1123-1499"]);
    survives(&[Act::Short(499)], &[ASKED, "1499-1499"]);
    let store = survives(&[Act::Short(100), Act::Break(100)], &[ASKED, "1100-1499", "1200-1499"]);
    let counters = store.counters();
    assert_eq!((counters.bytes_received, counters.retries), (500, 2));
}

#[test]
fn a_connection_that_breaks_often_but_brings_much_gets_there() {
    let (server, store, bytes) = one(400_000);
    // Far more failures than attempts: each brings enough to start the count anew.
    server.script(vec![Act::Break(30_000); 9]);
    assert!(read(&store, 0, 300_000).expect("arrives") == bytes[..300_000]);
    assert_eq!(store.counters().retries, 9);
}

#[test]
fn troubles_without_an_end_are_network_errors() {
    let text = fails(Act::Status(503, ""), ErrorKind::Network, 3);
    assert!(text.contains("the host answers 503 (attempt 3 of 3)"), "{text}");
    fails(Act::Close, ErrorKind::Network, 3);
    let text = fails(Act::Silence, ErrorKind::Network, 3);
    assert!(text.contains("timeout"), "{text}");
    fails(Act::Break(0), ErrorKind::Network, 3);
    fails(Act::Short(1), ErrorKind::Network, 3);
}

#[test]
fn a_host_that_sends_a_little_for_ever_is_given_up_and_one_that_was_slow_once_is_not() {
    let text = fails(Act::Trickle(2), ErrorKind::Network, 2);
    assert!(text.contains("too slow"), "{text}");
    let (server, store, bytes) = one(20_000);
    server.script([Act::Trickle(2)]);
    assert!(read(&store, 1000, 500).expect("faster the second time") == bytes[1000..1500]);
    assert_eq!(store.counters().requests, 2);
    server.usually(Act::Trickle(100));
    assert!(read(&store, 0, 5_000).expect("slow, but fast enough") == bytes[..5_000]);
}

#[test]
fn nobody_listening_is_a_network_error() {
    let (server, store, _) = one(10);
    let url = server.url();
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    let error = read(&store, 0, 10).expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().starts_with(&url), "{error}");
}

#[test]
fn a_host_that_speaks_no_tls_is_a_network_error() {
    let (server, _, _) = one(10);
    let url = server.url().replace("http:", "https:");
    let store = HttpStore::with_options(&url, hasty()).expect("an address");
    let error = read(&store, 0, 10).expect_err("not encrypted");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().starts_with(&url), "{error}");
}

#[test]
fn refusals_end_at_once() {
    for (status, kind) in
        [(404, ErrorKind::NotFound), (410, ErrorKind::NotFound), (403, ErrorKind::Io), (401, ErrorKind::Io)]
    {
        let text = fails(Act::Status(status, ""), kind, 1);
        assert!(text.contains(&status.to_string()), "{text}");
    }
    fails(Act::Status(416, ""), ErrorKind::Truncated, 1);
    fails(Act::Status(204, ""), ErrorKind::Io, 1);
}

#[test]
fn lies_are_tried_once_more_and_then_told() {
    for lie in [Act::Shifted(7), Act::WholeAs206, Act::Longer(1), Act::LongerUnsaid(9)] {
        survives(std::slice::from_ref(&lie), &[ASKED, ASKED]);
        let text = fails(lie, ErrorKind::Network, 2);
        assert!(text.contains("asked for bytes 1000..1500"), "{text}");
    }
    survives(&[Act::Gzip], &[ASKED, ASKED]);
    let text = fails(Act::Gzip, ErrorKind::Unsupported, 2);
    assert!(text.contains("gzip") && text.contains("without compression"), "{text}");
}

#[test]
fn retry_after_is_kept_up_to_a_bound() {
    let (server, store, _) = one(100);
    // One second is more than the bound of 0.2.
    server.script([Act::Status(429, "Retry-After: 1\r\n"), Act::Status(429, "Retry-After: 3600\r\n")]);
    let start = Instant::now();
    read(&store, 0, 100).expect("in the end");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(3), "{waited:?}");
}

#[test]
fn redirects_are_followed_with_the_range() {
    let (server, store, bytes) = one(2_000);
    server.script([Act::Redirect("/model.bin?from=elsewhere")]);
    assert!(read(&store, 1000, 500).expect("follows") == bytes[1000..1500]);
    assert_eq!(server.ranges(), [ASKED, ASKED]);
    assert_eq!(server.seen()[1].path, "/model.bin?from=elsewhere");
    server.usually(Act::Redirect("/model.bin"));
    let error = read(&store, 1000, 500).expect_err("round and round");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("redirect"), "{error}");
}

#[test]
fn a_whole_file_in_place_of_a_range_is_not_taken_in() {
    let (server, store, bytes) = one(32 << 20);
    server.usually(Act::Whole);
    assert!(read(&store, 1000, 500).expect("skips and takes") == bytes[1000..1500]);
    assert!(store.ignores_ranges());
    let received = store.counters().bytes_received;
    assert!(received < 1 << 20, "{received} bytes of 1500");
    let left = Instant::now();
    while server.left_early() == 0 {
        assert!(left.elapsed() < Duration::from_secs(5), "the connection is dropped");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It breaks on the way: what is there stays.
    server.script([Act::Break(1_000_000)]);
    server.usually(Act::Whole);
    let error = read(&store, (32 << 20) - 1, 2).expect_err("past the end");
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

#[test]
fn a_whole_file_that_was_asked_for_says_nothing_about_ranges() {
    let (server, store, bytes) = one(5_000);
    server.usually(Act::Whole);
    assert!(read(&store, 0, 5_000).expect("all of it") == bytes);
    assert!(!store.ignores_ranges());
}

#[test]
fn reads_that_wait_for_a_silent_host_give_up_together() {
    let (server, _, _) = one(64_000);
    let options = hasty().attempts(100).stall_s(0.2).patience_s(0.2).concurrent(1);
    let store = HttpStore::with_options(&server.url(), options).expect("an address");
    server.usually(Act::Silence);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for i in 0..16 {
            let store = &store;
            scope.spawn(move || {
                let error = read(store, i * 1000, 500).expect_err("silent");
                assert_eq!(error.kind(), ErrorKind::Network, "{error}");
            });
        }
    });
    // One after the other they would take 0.4 s each.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    std::thread::sleep(Duration::from_millis(1100));
    server.usually(Act::Serve);
    read(&store, 0, 500).expect("a host that is back is asked again");
}

#[test]
fn no_more_requests_at_a_time_than_allowed() {
    let (server, store, bytes) = one(64_000);
    server.usually(Act::Slow(20));
    std::thread::scope(|scope| {
        for i in 0..24_u64 {
            let (store, bytes) = (&store, &bytes);
            let run = move || {
                assert!(read(store, i * 2_000, 1_999).expect("reads")[..] == bytes[i as usize * 2_000..][..1_999])
            };
            scope.spawn(run);
        }
    });
    assert!((2..=6).contains(&server.most_in_flight()), "{}", server.most_in_flight());
}

#[test]
fn a_dropped_read_ends_soon_and_gives_its_place_back() {
    let (server, _, _) = one(100_000);
    let options = hasty().concurrent(1).stall_s(60.0).backoff_s(100.0);
    let store = HttpStore::with_options(&server.url(), options).expect("an address");
    // A pause of a hundred seconds is the only thing that could be waited for.
    server.script([Act::Status(500, "")]);
    let mut buffer = vec![0; 10];
    {
        let mut reading = store.read_at("model.bin", 0, &mut buffer);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..4 {
            assert!(reading.as_mut().poll(&mut context).is_pending());
        }
    }
    read(&store, 0, 10).expect("the place is free");
}

#[test]
fn reading_through_sees_every_byte_once() {
    for acts in [
        vec![],
        vec![Act::Break(70_000), Act::Break(100_000)],
        vec![Act::Whole, Act::Stall(0)],
        vec![Act::Break(200_000), Act::Whole],
        vec![Act::Break(299_999), Act::Status(503, ""), Act::Serve],
    ] {
        let (server, store, bytes) = one(300_000);
        server.script(acts.clone());
        let mut all = Vec::new();
        let mut visit = |offset: u64, chunk: &[u8]| {
            assert_eq!(offset, all.len() as u64, "{acts:?}");
            all.extend_from_slice(chunk);
            Ok(ControlFlow::Continue(()))
        };
        let visited = block_on(store.read_through("model.bin", &mut visit)).expect("reads through");
        assert_eq!(visited, 300_000);
        assert!(all == bytes, "{acts:?}");
    }
}

#[test]
fn reading_through_stops_where_the_visitor_says() {
    let (_server, store, _) = one(1_000_000);
    let mut seen = 0;
    let mut enough = |_: u64, chunk: &[u8]| {
        seen += chunk.len() as u64;
        Ok(if seen > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let visited = block_on(store.read_through("model.bin", &mut enough)).expect("stops");
    assert_eq!(visited, seen);
    assert!(visited < 900_000);
    let refuse = &mut |_: u64, _: &[u8]| Err(Error::new(ErrorKind::NoSpace, "full"));
    let error = block_on(store.read_through("model.bin", refuse)).expect_err("the visitor's");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(store.counters().retries, 0);
}

#[test]
fn small_objects_are_read_whole_bounded_and_fresh() {
    let (server, store, bytes) = one(3_000);
    server.script([Act::Break(1_000), Act::Status(500, "")]);
    assert!(block_on(store.read_all("model.bin", 3_000)).expect("all") == bytes);
    assert_eq!(server.ranges(), ["whole", "whole", "whole"]);
    assert_eq!(server.seen()[2].headers["cache-control"], "no-cache");
    let error = block_on(store.read_all("model.bin", 2_999)).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().starts_with(&server.url()), "{error}");
    let error = block_on(store.read_all("absent", 10)).expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_query_string_goes_with_every_request_and_into_no_message() {
    let (server, _, bytes) = one(100);
    let store = HttpStore::with_options(&format!("{}?key=s3cret", server.url()), hasty()).expect("an address");
    assert!(read(&store, 0, 100).expect("reads") == bytes);
    assert_eq!(server.seen()[0].path, "/model.bin?key=s3cret");
    server.usually(Act::Status(403, ""));
    let error = read(&store, 0, 100).expect_err("refused");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn sizes_and_names_are_not_the_servers_to_say() {
    let (_server, store, _) = one(1);
    for error in [block_on(store.len("model.bin")).expect_err("len"), block_on(store.list()).expect_err("list")] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("manifest"), "{error}");
    }
}
