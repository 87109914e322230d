#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tilestream_fuzz::vocabulary(data);
});
